"""An adapter whose network runs in ONNX Runtime, from the folder that `lua-lightning export ... onnx` writes."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lua_lightning.errors import UserError, first_line
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.pretrained import find_pretrained, read_config

ONNX = "onnx"  # key of config.json that says what the graphs are


def file_of(scale: int) -> str:
    """Return the name of the graph of a scale."""
    return f"lua_x{scale}.onnx"


def runtime() -> Any:
    """Return the package onnxruntime.

    Raises:
        UserError: It is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("ONNX Runtime is not installed: pip install 'lua-lightning[onnx]'") from error
    return onnxruntime


class OnnxUpscaler(LatentUpscaler):
    """Enlarge latents as the adapter does that was exported; on the CPU, without gradients.

    Args:
        source: Folder of the export.

    Raises:
        UserError: The folder holds no such export, or ONNX Runtime is not installed or cannot run it.
    """

    def __init__(self, source: str | Path) -> None:
        nn.Module.__init__(self)
        self.folder = find_pretrained(source)
        settings = {name: value for name, value in read_config(self.folder).items() if name[0] != "_"}
        about = settings.pop(ONNX, None)
        settings.pop("auto_map", None)
        if not isinstance(about, dict) or not isinstance(about.get("files"), dict):
            raise UserError(
                f"{source} is no ONNX export: make one with `lua-lightning export {source} onnx --out FOLDER` and "
                "give that folder"
            )
        self.config = AdapterConfig.from_dict(settings)
        self.latent_range, self.files, self.sessions = self.config.latent_range, about["files"], {}

    @classmethod
    def from_pretrained(
        cls, source: str | Path, revision: str | None = None, subfolder: str | None = None, sharpness: float = 0.0
    ) -> "OnnxUpscaler":
        """Return the adapter of an export's folder, which has the sharpness that was exported."""
        return cls(source)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the graphs."""
        return torch.float32

    def forward(self, latents: Tensor, scale: float) -> Tensor:
        """Return `latents` (B, channels, H, W), any H and W, enlarged to (B, channels, H*scale, W*scale), same dtype.

        Raises:
            UserError: The latents or the scale do not fit, or ONNX Runtime cannot run the graph.
        """
        self.check(latents, scale)
        try:
            (enlarged,) = self._session(int(scale)).run(["enlarged"], {"latents": latents.float().cpu().numpy()})
        except Exception as error:  # the runtime has a class of its own for each kind, which share no base
            raise UserError(f"ONNX Runtime cannot run the graph of {self.folder}: {first_line(error)}") from error
        return torch.from_numpy(enlarged).to(latents.device, latents.dtype)

    def _session(self, scale: int) -> Any:
        if scale not in self.sessions:
            options = runtime().SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            path = str(self.folder / self.files.get(str(scale), file_of(scale)))
            self.sessions[scale] = runtime().InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return self.sessions[scale]

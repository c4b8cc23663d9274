"""`export onnx`: one file per scale with dynamic sizes, checked in ONNX Runtime."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lua_lightning.errors import UserError
from lua_lightning.export.cards import card
from lua_lightning.export.parity import largest_difference
from lua_lightning.export.subject import Subject
from lua_lightning.files import write_bytes, write_json, write_text
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.onnx_upscaler import ONNX, OnnxUpscaler, file_of, runtime
from lua_lightning.models.pretrained import CONFIG_NAME

SNIPPET = """
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
latents = np.random.randn(1, {channels}, 32, 48).astype(np.float32)  # {space} latents of a generator
(larger,) = session.run(["enlarged"], {{"latents": latents}})  # 1, {channels}, {height}, {width}
"""


class OneScale(nn.Module):
    """An adapter with the scale fixed, since the scale decides the graph."""

    def __init__(self, adapter: LatentUpscaler, scale: int) -> None:
        super().__init__()
        self.adapter, self.scale = adapter, scale

    def forward(self, latents: Tensor) -> Tensor:
        return self.adapter(latents, self.scale)


def export(subject: Subject, folder: Path) -> float:
    """Write the graphs, their configuration and their card, and return their largest difference to the adapter.

    Raises:
        UserError: A package is missing, or the difference is larger than 1e-4.
    """
    runtime()  # told now, not after half a minute
    config = subject.adapter.config
    opset = max(_write_graph(subject.adapter, scale, folder / file_of(scale)) for scale in config.scales)
    files = {str(scale): file_of(scale) for scale in config.scales}
    about = {"files": files, "opset": opset, "input": "latents", "output": "enlarged"}
    write_json(folder / CONFIG_NAME, {"_class_name": "OnnxUpscaler", **asdict(config), ONNX: about}, indent=2)
    difference = largest_difference(subject.adapter, OnnxUpscaler(folder), "ONNX")
    facts = [
        f"Differs from the adapter by at most {difference:.1e} in ONNX Runtime {runtime().__version__} on the CPU, "
        "over five sizes and every scale.",
        f"Opset {opset}; input `latents` (batch, {config.channels}, height, width), output `enlarged`, float32; "
        "batch, height and width are free.",
        "`lua-lightning upscale --runtime onnx --adapter FOLDER` runs it.",
    ]
    scale = config.scales[0]
    sizes = {"height": 32 * scale, "width": 48 * scale}
    snippet = SNIPPET.format(file=file_of(scale), channels=config.channels, space=config.space, **sizes)
    write_text(folder / "README.md", card(subject, "ONNX graphs", snippet, facts, library="onnx"))
    return difference


def _write_graph(adapter: LatentUpscaler, scale: int, path: Path) -> int:
    """Write one graph and return its opset."""
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch needs it)
    except ImportError as error:
        raise UserError(f"exports to ONNX need {error.name}: pip install 'lua-lightning[onnx]'") from error

    window = adapter.window_size
    # Two items and sides of several windows, no multiples of one, so that nothing about them is taken for fixed.
    latents = torch.randn(2, adapter.config.channels, 2 * window + 1, 3 * window - 2)
    with _quiet():
        program = torch.onnx.export(
            OneScale(adapter, scale).eval(),
            (latents,),
            dynamo=True,
            dynamic_shapes={"latents": {0: "batch", 2: "height", 3: "width"}},
            input_names=["latents"],
            output_names=["enlarged"],
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise UserError("PyTorch made no ONNX graph: install a newer PyTorch")
    graph: Any = program.model_proto
    onnx.helper.set_model_props(graph, {"lua_config": json.dumps({**asdict(adapter.config), "scale": scale})})
    write_bytes(path, graph.SerializeToString())
    return next(entry.version for entry in graph.opset_import if not entry.domain)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and the deprecations inside it to itself."""
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            yield
        finally:
            logging.getLogger("torch.onnx").setLevel(level)

"""Write adapters for others to use: one set of weights or two, in one folder, in any number format."""

from dataclasses import replace
from pathlib import Path

import torch

from lua_lightning.errors import UserError
from lua_lightning.files import write_bytes, write_tensors
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.pretrained import CONFIG_NAME, find_pretrained
from lua_lightning.models.sharpness import CRISP_NAME, between


def join(faithful: str | Path, crisp: str | Path | None, out: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a folder of a faithful adapter, and of the crisp one that was trained from it.

    The card and the other files beside the weights are those of the later training.

    Args:
        faithful: Name, folder or hub id of the adapter of sharpness 0.
        crisp: Of that of sharpness 1; None where there is none.
        out: Folder to write; files of the same names are replaced.
        dtype: Number format of the weights' files. Loaded, weights are float32 always.

    Raises:
        UserError: An adapter cannot be read, or they are of different networks.
    """
    network = LatentUpscaler.from_pretrained(faithful)
    weights = None if crisp is None else _weights_of(crisp, network, str(faithful))
    network.to(dtype).save_pretrained(out)
    if weights is not None:
        write_tensors(out / CRISP_NAME, {name: tensor.to(dtype) for name, tensor in weights.items()})
    for path in sorted(find_pretrained(crisp or faithful).iterdir()):
        if path.is_file() and path.suffix != ".safetensors" and path.name != CONFIG_NAME:
            write_bytes(out / path.name, path.read_bytes())


def _weights_of(crisp: str | Path, faithful: LatentUpscaler, name: str) -> dict[str, torch.Tensor]:
    """Return the weights of an adapter that must be of the same network."""
    other = LatentUpscaler.from_pretrained(crisp)
    weights = other.state_dict()
    try:
        between(faithful.state_dict(), weights, 0.5)
        same = replace(other.config, latent_range=faithful.config.latent_range) == faithful.config
    except ValueError:
        same = False
    if not same:
        raise UserError(f"{crisp} is of another network than {name}: train it from that one")
    return weights

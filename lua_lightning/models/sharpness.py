"""Sharpness: two sets of weights of one adapter, faithful at 0 and crisp at 1, and everything between them.

Between them the weights are interpolated linearly, which works for networks that one training made from the other
(network interpolation, arXiv 1811.10515, section 3.4 of ESRGAN, arXiv 1809.00219).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lua_lightning.errors import UserError
from lua_lightning.models.pretrained import WEIGHTS_NAME, read_weights

CRISP_NAME = "crisp.safetensors"


def check_sharpness(sharpness: float) -> float:
    """Return a sharpness that lies in [0, 1].

    Raises:
        UserError: It does not.
    """
    if not 0 <= sharpness <= 1:
        raise UserError(f"sharpness={sharpness} must lie between 0 (faithful) and 1 (crisp)")
    return sharpness


def between(faithful: Mapping[str, Tensor], crisp: Mapping[str, Tensor], sharpness: float) -> dict[str, Tensor]:
    """Return the weights at a sharpness in [0, 1], computed in float32 and as exact as the inputs at both ends.

    Args:
        faithful: Tensors by name.
        crisp: The same names and shapes.
        sharpness: 0 gives `faithful`, 1 gives `crisp`.

    Raises:
        ValueError: Names or shapes differ.
    """
    if {name: tensor.shape for name, tensor in faithful.items()} != {name: t.shape for name, t in crisp.items()}:
        raise ValueError("the two sets of weights have other names or shapes")
    mixed = {}
    for name, tensor in faithful.items():
        mixed[name] = torch.lerp(tensor.float(), crisp[name].float(), sharpness).to(tensor.dtype)
    return mixed


def read_at(folder: Path, sharpness: float) -> dict[str, Tensor]:
    """Return the tensors of an adapter's folder at a sharpness.

    Raises:
        UserError: The folder has no crisp weights, or they are of another network.
    """
    faithful = read_weights(folder)
    if not check_sharpness(sharpness):
        return faithful
    if not (folder / CRISP_NAME).is_file():
        raise UserError(f"{folder} has no {CRISP_NAME}: this adapter has one sharpness only, leave sharpness at 0")
    try:
        return between(faithful, read_weights(folder / CRISP_NAME), sharpness)
    except ValueError as error:
        raise UserError(f"{folder / CRISP_NAME} is of another network than {WEIGHTS_NAME} beside it") from error

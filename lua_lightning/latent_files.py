"""Read and write latents in files of their own: safetensors and NumPy's .npy."""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lua_lightning.errors import UserError, first_line
from lua_lightning.files import replacing, write_tensors

SUFFIXES = (".safetensors", ".npy")
NAMES = ("latents", "latent_tensor", "samples")  # of the tensor in a safetensors file; the second is ComfyUI's


def read_latents(path: Path) -> Tensor:
    """Return the latents of a file as float32 (N, C, H, W); a file of (C, H, W) holds one.

    Raises:
        UserError: The file is missing or damaged, or what it holds are not latents of finite numbers.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} holds no latents: the suffix must be one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"{path} does not exist: give a file of latents")
    latents = _from_numpy(path) if path.suffix.lower() == ".npy" else _from_safetensors(path)
    if latents.ndim == 3:
        latents = latents[None]
    if latents.ndim != 4 or not latents.numel():
        shape = "x".join(map(str, latents.shape))
        raise UserError(f"{path} holds values of shape {shape}: latents are (channels, height, width), one or several")
    if not torch.isfinite(latents).all():
        raise UserError(f"{path} holds values that are not finite numbers: what made the latents overflowed")
    return latents.float()


def _from_numpy(path: Path) -> Tensor:
    try:
        values = np.load(path, allow_pickle=False)
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise UserError(f"{path} cannot be read as an array of numbers: {first_line(error)}") from error


def _from_safetensors(path: Path) -> Tensor:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from error
    for name in NAMES:
        if name in tensors:
            return tensors[name]
    large = [name for name, tensor in tensors.items() if tensor.ndim >= 3]
    if len(large) != 1:
        raise UserError(f"{path} holds the tensors {', '.join(sorted(tensors)) or 'none'}: name the latents `latents`")
    return tensors[large[0]]


def write_latents(path: Path, latents: Tensor) -> None:
    """Write latents (N, C, H, W): the tensor `latents` of a safetensors file, or an array in a .npy file.

    Raises:
        UserError: The file cannot be written.
    """
    values = latents.detach().cpu().contiguous()
    if path.suffix.lower() == ".safetensors":
        write_tensors(path, {"latents": values})
        return
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, values.float().numpy())

"""The latents of diffusers' pipelines, however they are laid out, through an adapter. Needs PyTorch alone."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lua_lightning.models.factors import denormalise, factors_of, normalise


def enlarged(upscaler: Any, vae: Any, latents: Tensor, scale: int) -> Tensor:
    """Return a pipeline's normalised latents enlarged `scale` times, laid out as they were.

    Args:
        upscaler: A `LatentUpscalerLUA`.
        vae: The pipeline's autoencoder; needed only for an adapter that works on raw latents.
        latents: (B, C, H, W); (B, C, frames, H, W) of a film; or (B, 4C, H/2, W/2), 2x2 cells packed into channels.
        scale: One of the adapter's scales.

    Raises:
        ValueError: The latents are tokens or of another number of channels, or the autoencoder is missing.
    """
    frames = latents.transpose(1, 2).flatten(0, 1) if latents.ndim == 5 else latents
    if frames.ndim != 4:
        shape = tuple(latents.shape)
        raise ValueError(f"latents of shape {shape} are tokens: unpack them to (batch, channels, height, width) first")
    packed = frames.shape[1] == 4 * upscaler.config.channels
    grid = F.pixel_shuffle(frames, 2) if packed else frames
    upscaler.check(grid, scale)
    if upscaler.config.space == "raw":
        if vae is None:
            raise ValueError("this adapter works on raw latents: give the pipeline its autoencoder, `vae`")
        grid = denormalise(grid, *factors_of(vae))
    grid = upscaler(grid.to(upscaler.device), scale, return_dict=False)[0]
    if upscaler.config.space == "raw":
        grid = normalise(grid, *factors_of(vae))
    frames = F.pixel_unshuffle(grid, 2) if packed else grid
    if latents.ndim == 5:
        frames = frames.unflatten(0, (len(latents), -1)).transpose(1, 2)
    return frames.to(latents.device, latents.dtype)


def unpacked(tokens: Tensor, height: int, width: int, downscale: int) -> Tensor:
    """Return latents (B, C, H, W) of a FLUX or Qwen-Image pipeline's tokens (B, H/2 * W/2, 4C).

    Args:
        tokens: What the pipeline returns for `output_type="latent"`.
        height: The image's, in pixels.
        width: The image's, in pixels.
        downscale: Pixels per latent along one side.

    Raises:
        ValueError: There are fewer or more tokens than an image of that size has.
    """
    rows, cols = height // (2 * downscale), width // (2 * downscale)
    if rows * cols != tokens.shape[1]:
        raise ValueError(f"{tokens.shape[1]} tokens are not those of an image of {width} x {height} pixels")
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, cols)), 2)

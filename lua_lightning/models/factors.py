"""What pipelines make of an autoencoder's latents: `normalised = (raw - shift) * scale`. Needs PyTorch alone."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def factors_of(autoencoder: Any) -> tuple[Tensor, Tensor]:
    """Return the shift and the scale of a diffusers autoencoder, each (1, C or 1, p, p), in float32.

    They are numbers, one for all channels; or a mean and a deviation of each channel, which pipelines divide by
    `scaling_factor` (Playground 2.5), and by nothing for films (Wan, Qwen-Image); or running statistics of each channel
    and position in a 2x2 cell (FLUX.2).
    """
    config = autoencoder.config
    if hasattr(autoencoder, "bn"):
        mean = F.pixel_shuffle(autoencoder.bn.running_mean.view(1, -1, 1, 1), 2)
        variance = F.pixel_shuffle(autoencoder.bn.running_var.view(1, -1, 1, 1), 2)
        return mean.float().clone(), (variance.float() + config.batch_norm_eps).rsqrt()
    of_films = getattr(config, "z_dim", None) is not None
    scale = torch.tensor(1.0 if of_films else float(getattr(config, "scaling_factor", None) or 1.0)).view(1, 1, 1, 1)
    means, deviations = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
    if means is None or deviations is None:
        return torch.tensor(float(getattr(config, "shift_factor", None) or 0.0)).view(1, 1, 1, 1), scale
    mean, deviation = (torch.tensor(values).view(1, -1, 1, 1) for values in (means, deviations))
    return mean, scale / deviation


def normalise(raw: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return (raw - shift) * scale as float32, of latents (N, C, H, W) and factors (1, C, p, p)."""
    return (raw.float() - over(shift, raw)) * over(scale, raw)


def denormalise(latents: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return latents / scale + shift as float32, of latents (N, C, H, W) and factors (1, C, p, p)."""
    return latents.float() / over(scale, latents) + over(shift, latents)


def over(factor: Tensor, latents: Tensor) -> Tensor:
    """Return a factor where the latents are, repeated over them where it differs by position in a cell."""
    cell, factor = factor.shape[-1], factor.to(latents.device)
    if cell == 1:
        return factor
    height, width = latents.shape[-2:]
    return factor.repeat((1, 1, -(-height // cell), -(-width // cell)))[..., :height, :width]

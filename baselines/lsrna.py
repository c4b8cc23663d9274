"""LSRNA-DemoFusion (arXiv 2503.18446), reimplemented from its description: one phase at the full size.

A latent super-resolver gives the enlarged latents, noise is added where the image has edges, and DemoFusion's steps run
over the last part of the schedule.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.clock import Clock
from baselines.contract import Start
from baselines.demofusion import DemoFusion, FusionSettings, fused_denoising, with_statistics
from baselines.lsr import Lsr, LsrSettings
from lua_lightning.bounds import Text, Within
from lua_lightning.images import to_uint8
from lua_lightning.pipeline import upscale_latents

CANNY = (0, 255)  # thresholds of the edge detector, as published


@dataclass
class LsrnaSettings(FusionSettings):
    """Settings of LSRNA-DemoFusion, as published."""

    steps: Annotated[int, Within(1, 1000)] = 50
    """Denoising steps of the schedule."""
    view_batch: Annotated[int, Within(1, 1024)] = 8
    """Windows or sub-latents that go through the network at once."""
    inversion_depth: Annotated[int, Within(1, 1000)] = 30
    """How many of the steps are run, from the noised latents on."""
    noise_low: Annotated[float, Within(0, 1000)] = 0.0
    """Standard deviation of the noise where there is no edge."""
    noise_high: Annotated[float, Within(0, 1000)] = 1.2
    """Standard deviation of the noise where edges are densest."""
    weights: Annotated[str, Text()] = LsrSettings.weights
    """Latent super-resolver: the zoo name, folder or hub id of an adapter with a LIIF head."""


def edge_density(image: Tensor, height: int, width: int) -> Tensor:
    """Return the share of edge pixels around each latent, scaled to [0, 1], (1, 1, height, width).

    Args:
        image: The decoded base image (1, 3, H, W) in [-1, 1].
        height: Of the enlarged latents.
        width: Of the enlarged latents.
    """
    grey = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2GRAY)
    edges = torch.from_numpy(cv2.Canny(grey, *CANNY)).float()[None, None]
    pooled = F.adaptive_avg_pool2d(edges, (height, width))
    low, high = pooled.amin(), pooled.amax()
    return (pooled - low) / (high - low).clamp(min=1e-6)


def region_noise(latents: Tensor, density: Tensor, low: float, high: float, draw: torch.Generator) -> Tensor:
    """Return `latents` plus Gaussian noise whose standard deviation goes from `low` to `high` with the edge density."""
    noise = torch.randn(latents.shape, generator=draw).to(latents)
    return latents + noise * (low + (high - low) * density.to(latents))


class LsrnaDemoFusion(DemoFusion):
    """LSRNA-DemoFusion: LSR, region-wise noise, and DemoFusion's steps straight at the target size."""

    name = "lsrna-demofusion"
    settings_type = LsrnaSettings

    @property
    def sources(self) -> tuple[str, ...]:
        return (*super().sources, self.settings.weights)

    @cached_property
    def _lsr(self) -> Lsr:
        return Lsr(self.world, LsrSettings(self.settings.weights))

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        settings, base = self.settings, start.latents
        factor = self.scale(start, size)
        network = self._lsr.network  # loading is not a phase
        with clock.phase("upscale"):
            latents = upscale_latents(network, self.world.codec, base, factor)
            density = edge_density(self.world.decode(base), *latents.shape[-2:])
            draw = torch.Generator("cpu").manual_seed(start.seed + 1)
            latents = region_noise(latents, density, settings.noise_low, settings.noise_high, draw)
            denoiser = self.denoiser(start, latents.shape[-2:])
            steps = self.world.steps or settings.steps
            depth = max(1, round(steps * settings.inversion_depth / settings.steps))
            times = denoiser.timesteps(steps)[-depth:]
            latents = fused_denoising(denoiser, latents, times, factor, base.shape[-1], settings, start.seed)
            latents = with_statistics(latents, base)
        with clock.phase("decode"):
            return self.world.decode(latents)

"""DemoFusion (arXiv 2311.16973), reimplemented from its description: progressive upscaling with the generator itself.

Each phase enlarges the clean latents of the phase before, noises them again, and denoises at the new size while a skip
residual, overlapping windows and dilated sampling hold the image together.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from baselines.clock import Clock
from baselines.contract import Method, Start
from baselines.denoising import Corner, Denoiser
from lua_lightning.bounds import Within


@dataclass
class FusionSettings:
    """Settings of DemoFusion, as published; LSRNA has the same and more."""

    steps: Annotated[int, Within(1, 1000)] = 40
    """Denoising steps of each phase."""
    view_batch: Annotated[int, Within(1, 1024)] = 4
    """Windows or sub-latents that go through the network at once."""
    stride_ratio: Annotated[float, Within(0.1, 1)] = 0.5
    """Stride of the windows, as a share of their side."""
    cosine_skip: Annotated[float, Within(0, 1000)] = 3.0
    """Exponent of the cosine by which the skip residual fades."""
    cosine_global: Annotated[float, Within(0, 1000)] = 1.0
    """Exponent of the cosine by which the dilated path fades."""
    cosine_blur: Annotated[float, Within(0, 1000)] = 1.0
    """Exponent of the cosine by which the blur fades."""
    sigma: Annotated[float, Within(0, 1000, above=True)] = 0.8
    """Largest standard deviation of the blur, in latents."""
    jitter: bool = True
    """Whether the windows are shifted at random in each step."""
    skip_weight: Annotated[float, Within(0, 1000)] = 1.0
    """Factor of the skip residual. 0 leaves it out."""
    global_weight: Annotated[float, Within(0, 1000)] = 1.0
    """Factor of the dilated path. 0 leaves it out."""
    low_memory: bool = False
    """Whether views go through the network one at a time."""


def fading(time: float, length: int) -> float:
    """Return the cosine that falls from 1 at `time` = `length`, the schedule's beginning, to 0 at its end."""
    return 0.5 * (1 + math.cos(math.pi * (length - time) / length))


def view_starts(size: int, window: int, stride: int) -> list[int]:
    """Return where windows begin along one axis: `stride` apart, the last one ending at `size`."""
    if size <= window:
        return [0]
    return [*range(0, size - window, stride), size - window]


def jittered(start: int, size: int, window: int, reach: int, draw: torch.Generator | None) -> int:
    """Return a window's beginning on a canvas padded by `reach`, shifted at random by at most `reach`.

    A window on a border moves outward only, so that no gap opens; one that covers everything stays.
    """
    low = 0 if start + window >= size else -reach
    high = 0 if start == 0 else reach
    if draw is None or low >= high:
        return start + reach
    return start + reach + int(torch.randint(low, high + 1, (), generator=draw))


def windows(
    height: int, width: int, window: int, stride: int, reach: int, draw: torch.Generator | None
) -> list[Corner]:
    """Return the corners of all windows on a canvas padded by `reach` on every side."""
    return [
        (jittered(top, height, window, reach, draw), jittered(left, width, window, reach, draw))
        for top in view_starts(height, window, stride)
        for left in view_starts(width, window, stride)
    ]


def averaged_over_windows(
    latents: Tensor,
    window: int,
    stride: int,
    step: Callable[[Tensor, list[Corner]], Tensor],
    draw: torch.Generator | None = None,
    chunk: int = 16,
) -> Tensor:
    """Return MultiDiffusion's average (arXiv 2302.08113) of `step` applied to overlapping windows.

    Args:
        latents: (1, C, H, W).
        window: Side of the windows; where it covers an axis there is one window on it.
        stride: Distance of neighbouring windows.
        step: Maps windows (N, C, window, window) and their corners in `latents` to the same shape.
        draw: Source of the jitter; None leaves the windows in place.
        chunk: Windows that are cut at once.
    """
    height, width = latents.shape[-2:]
    rows, columns = min(window, height), min(window, width)
    reach = (window - stride) // 4 if draw is not None else 0
    canvas = F.pad(latents, (reach,) * 4)
    total, count = torch.zeros_like(canvas), torch.zeros_like(canvas[:, :1])
    corners = windows(height, width, window, stride, reach, draw)
    for first in range(0, len(corners), chunk):
        part = corners[first : first + chunk]
        views = torch.cat([canvas[..., top : top + rows, left : left + columns] for top, left in part])
        outputs = step(views, [(top - reach, left - reach) for top, left in part])
        for (top, left), output in zip(part, outputs, strict=True):
            total[..., top : top + rows, left : left + columns] += output
            count[..., top : top + rows, left : left + columns] += 1
    inner = (..., slice(reach, reach + height), slice(reach, reach + width))
    return total[inner] / count[inner]


def with_statistics(latents: Tensor, like: Tensor) -> Tensor:
    """Return `latents` shifted and scaled to the overall mean and standard deviation of `like`."""
    return (latents - latents.mean()) / latents.std() * like.std() + like.mean()


def split_dilated(latents: Tensor, factor: int) -> Tensor:
    """Return the interleaved sub-latents (factor**2, C, H/factor, W/factor) of (1, C, H, W), sides multiples of it."""
    return torch.cat([latents[..., row::factor, column::factor] for row in range(factor) for column in range(factor)])


def join_dilated(parts: Tensor, factor: int) -> Tensor:
    """Return what `split_dilated` split."""
    _, channels, height, width = parts.shape
    latents = parts.new_empty(1, channels, height * factor, width * factor)
    for index, part in enumerate(parts):
        latents[0, :, index // factor :: factor, index % factor :: factor] = part
    return latents


def dilated_step(
    latents: Tensor, factor: int, sigma: float, predict: Callable[[Tensor], Tensor], step: Callable
) -> Tensor:
    """Return `latents` (1, C, H, W) a step further by the global path: each sub-latent sees the whole image, coarsely.

    The network sees sub-latents of a blurred copy, brought back to the overall statistics; its output is applied to
    sub-latents of the unblurred ones. Sides that `factor` does not divide are zero-padded at the top and left.

    Args:
        latents: Noisy latents.
        factor: How many times larger than native they are.
        sigma: Standard deviation of the Gaussian (kernel 2 * factor - 1).
        predict: Maps sub-latents to the network's output.
        step: Maps output and sub-latents to sub-latents a step further.
    """
    height, width = latents.shape[-2:]
    top, left = -height % factor, -width % factor
    blurred = latents
    if factor > 1:
        blurred = with_statistics(gaussian_blur(latents, [2 * factor - 1] * 2, [sigma] * 2), latents)
    parts, blurred_parts = (split_dilated(F.pad(x, (left, 0, top, 0)), factor) for x in (latents, blurred))
    return join_dilated(step(predict(blurred_parts), parts), factor)[..., top:, left:]


def fused_denoising(
    denoiser: Denoiser,
    clean: Tensor,
    times: Sequence[Tensor],
    factor: int,
    window: int,
    settings: FusionSettings,
    seed: int,
) -> Tensor:
    """Return new clean latents from enlarged ones, by DemoFusion's steps over `times`.

    Args:
        denoiser: For the prompt at the size of `clean`.
        clean: Enlarged clean latents (1, C, H, W): their noised forms are the skip residual.
        times: The part of the schedule to run, from the noisiest on.
        factor: Side of `clean` over the native side.
        window: Side of the generator's native latents.
        settings: Weights and windows.
        seed: Of the noise and of the jitter.
    """
    draw = torch.Generator("cpu").manual_seed(seed)
    noise = torch.randn(clean.shape, generator=draw).to(clean)
    stride = max(1, round(window * settings.stride_ratio))
    latents = denoiser.add_noise(clean, noise, times[0])
    for time in times:
        cosine = fading(float(time), denoiser.length)
        skip = settings.skip_weight * cosine**settings.cosine_skip
        latents = torch.lerp(latents, denoiser.add_noise(clean, noise, time), skip)

        def local(views: Tensor, corners: list[Corner], time: Tensor = time) -> Tensor:
            return denoiser.step(denoiser.predict(views, time, corners), time, views)

        following = averaged_over_windows(
            latents, window, stride, local, draw if settings.jitter else None, max(16, denoiser.view_batch)
        )
        share = settings.global_weight * cosine**settings.cosine_global
        if share:
            sigma = settings.sigma * (0.99 * cosine**settings.cosine_blur + 0.01)
            coarse = dilated_step(
                latents,
                factor,
                sigma,
                lambda parts, time=time: denoiser.predict(parts, time),
                lambda output, parts, time=time: denoiser.step(output, time, parts),
            )
            following = torch.lerp(following, coarse, share)
        latents = following
    return latents


class DemoFusion(Method):
    """DemoFusion: the image grows by one native side per phase, each phase denoised from the one before."""

    name = "demofusion"
    needs_prompt = True
    settings_type = FusionSettings

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        settings, base = self.settings, start.latents
        factor = self.scale(start, size)
        latents = base
        with clock.phase("upscale"):
            for phase in range(2, factor + 1):
                height, width = (phase * side for side in base.shape[-2:])
                denoiser = self.denoiser(start, (height, width))
                clean = F.interpolate(latents, (height, width), mode="bicubic", align_corners=False)
                times = denoiser.timesteps(self.world.steps or settings.steps)
                latents = fused_denoising(denoiser, clean, times, phase, base.shape[-1], settings, start.seed + phase)
            latents = with_statistics(latents, base)
        with clock.phase("decode"):
            return self.world.decode(latents)

    def denoiser(self, start: Start, size: Sequence[int]) -> Denoiser:
        """Return the denoiser of the start's prompt at a size in latents."""
        batch = 1 if self.settings.low_memory else self.settings.view_batch
        return Denoiser(self.world.generator, start.prompt or "", size, batch)

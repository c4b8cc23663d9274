"""Latents as ComfyUI's models hold them, and as an adapter takes them; enlargement in tiles without a seam."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# In attention windows. Measured on lua-tiny-d16, windows of 8: where a tile ends, latents of up to 6 are off by 2; one
# window further in by 0.07, two by 0.0006. So the outer two count nothing, and neighbours blend over one.
MARGIN, BLEND = 2, 1
OVERLAP, SMALLEST_TILE = 2 * MARGIN + BLEND, 8


@dataclass(frozen=True)
class Family:
    """What a family of models does to the latents that its autoencoder makes: `normalised = (raw - shift) * scale`."""

    formats: tuple[str, ...]
    """ComfyUI's classes of latent formats."""
    shift: float
    scale: float
    packed: bool = False
    """Whether ComfyUI holds 2x2 latents in the channels of one, normalised already."""


FAMILIES = {
    "sdxl": Family(("SDXL",), 0.0, 0.13025),
    "sd3": Family(("SD3",), 0.0609, 1.5305),
    "flux": Family(("Flux",), 0.1159, 0.3611),
    "flux2": Family(("Flux2",), 0.0, 1.0, packed=True),
}
# Tiny autoencoders of the same latents, and the repositories that codecs are named by.
FAMILY_OF = {"taesdxl": "sdxl", "taesd3": "sd3", "taef1": "flux", "taef2": "flux2"}
KINDS = {4: "SD 1.5 and SDXL", 16: "SD3, FLUX.1, Wan 2.1 and Qwen-Image", 48: "Wan 2.2", 128: "FLUX.2"}


def family_of(codec: str | None) -> Family | None:
    """Return the family of the autoencoder that an adapter was trained on, where it is known."""
    return FAMILIES.get(FAMILY_OF.get(codec or "", codec or ""))


@dataclass(frozen=True)
class Convention:
    """How latents get from ComfyUI's form to an adapter's and back."""

    inwards: Callable[[Tensor], Tensor]
    outwards: Callable[[Tensor], Tensor]
    packed: bool = False

    def enter(self, samples: Tensor) -> Tensor:
        """Return what the adapter takes, (N, C, H, W) in float32, of ComfyUI's (N, C, H, W) or (N, C, frames, H, W)."""
        samples = self.inwards(samples.float())
        if samples.ndim == 5:
            samples = samples.transpose(1, 2).flatten(0, 1)
        return F.pixel_shuffle(samples, 2) if self.packed else samples

    def leave(self, latents: Tensor, like: Tensor) -> Tensor:
        """Return enlarged latents in the form of `like`, what ComfyUI gave."""
        latents = F.pixel_unshuffle(latents, 2) if self.packed else latents
        if like.ndim == 5:
            latents = latents.unflatten(0, (len(like), -1)).transpose(1, 2)
        return self.outwards(latents).to(like.dtype)


def convention(space: str, codec: str | None, factors: dict | None, latent_format: object | None) -> Convention:
    """Return how an adapter's latents relate to ComfyUI's.

    ComfyUI holds what the autoencoder makes (raw) for every family but FLUX.2.

    Args:
        space: Of the adapter: "normalised" or "raw".
        codec: Name of the autoencoder that the adapter was trained on.
        factors: `shift` and `scale`, one number or one a channel, and `packed`, from the adapter's file.
        latent_format: The latent format of a connected model.

    Raises:
        ValueError: The adapter works on normalised latents, and nothing says how they are normalised.
    """
    family = family_of(codec)
    packed = family.packed if family else bool(factors and factors.get("packed"))
    if space == "raw" or packed:
        return Convention(lambda x: x, lambda x: x, packed)
    if family:
        factors = {"shift": family.shift, "scale": family.scale}
    if factors:
        shift, scale = (torch.tensor(factors[name], dtype=torch.float32).reshape(-1) for name in ("shift", "scale"))

        def over(values: Tensor, like: Tensor) -> Tensor:
            return values.to(like.device).view(1, -1, *[1] * (like.ndim - 2))

        return Convention(
            lambda x: (x - over(shift, x)) * over(scale, x), lambda x: x / over(scale, x) + over(shift, x)
        )
    if latent_format is not None:
        return Convention(latent_format.process_in, latent_format.process_out)  # type: ignore[attr-defined]
    raise ValueError(
        f"this adapter works on normalised latents of {codec or 'an unknown autoencoder'}, and its file does not say "
        "how they are normalised: connect the model that made the latents to the input `model`"
    )


def check(samples: Tensor, channels: int, codec: str | None, packed: bool, latent_format: object | None) -> None:
    """Refuse latents that an adapter was not made for.

    Raises:
        ValueError: The shape, the channels or the kind of the model do not fit.
    """
    if samples.ndim not in (4, 5):
        raise ValueError(f"latents of shape {tuple(samples.shape)} are no images and no video: nothing to enlarge")
    expected, found = channels * 4 if packed else channels, samples.shape[1]
    if found != expected:
        raise ValueError(
            f"these latents have {found} channels{_kind(found)}, but this adapter ({codec or 'unknown autoencoder'}) "
            f"works on {expected}{_kind(expected)}: load the adapter of the model that made the latents"
        )
    family, name = family_of(codec), type(latent_format).__name__
    if latent_format is not None and family and name not in family.formats:
        raise ValueError(
            f"the connected model makes {name} latents, but this adapter was trained on {codec} "
            f"({', '.join(family.formats)}): load the adapter of this model"
        )


def _kind(channels: int) -> str:
    return f", as those of {KINDS[channels]}" if channels in KINDS else ""


def starts(size: int, tile: int, window: int) -> list[int]:
    """Return where the tiles of an axis begin: at whole windows, so that tiles are cut into windows as the whole is."""
    step = tile - OVERLAP * window
    found = [0]
    while found[-1] + tile < size:
        found.append(found[-1] + step)
    return found


def tiles(height: int, width: int, tile: int, window: int) -> int:
    """Return how many tiles there are."""
    return len(starts(height, tile, window)) * len(starts(width, tile, window))


def enlarge_tiled(
    network: Callable[[Tensor], Tensor], latents: Tensor, scale: int, tile: int, window: int, done: Callable[[], None]
) -> Tensor:
    """Return `network(latents)`, (N, C, H*scale, W*scale), computed on overlapping tiles that are blended.

    The outer `MARGIN` windows of a tile, which see too little around them, count nothing; the weights of neighbours
    rise and fall linearly between.

    Args:
        network: Enlarges (N, C, h, w) by `scale`.
        latents: (N, C, H, W).
        scale: Of the network.
        tile: Side of a tile in latents; a multiple of `window`, and at least `SMALLEST_TILE` of them.
        window: Side of the network's attention windows.
        done: Called after each tile.
    """
    height, width = latents.shape[-2:]
    total: Tensor | None = None
    weights: Tensor | None = None
    pixels = window * scale
    for top in starts(height, tile, window):
        for left in starts(width, tile, window):
            part = network(latents[..., top : top + tile, left : left + tile]).float()
            if total is None or weights is None:
                total = part.new_zeros((*part.shape[:2], height * scale, width * scale))
                weights = part.new_zeros((height * scale, width * scale))
            rows = _weight(part.shape[-2], pixels, top > 0, top + tile < height).to(part.device)
            columns = _weight(part.shape[-1], pixels, left > 0, left + tile < width).to(part.device)
            place = (
                ...,
                slice(top * scale, top * scale + part.shape[-2]),
                slice(left * scale, left * scale + part.shape[-1]),
            )
            weight = rows[:, None] * columns[None, :]
            total[place] += part * weight
            weights[place] += weight
            done()
    assert total is not None
    assert weights is not None
    return total / weights


def _weight(length: int, window: int, before: bool, after: bool) -> Tensor:
    """Return the weights across a tile: 1, but falling to 0 towards neighbours before and after it."""
    position = (torch.arange(length, dtype=torch.float32) + 0.5) / window
    rising = ((position - MARGIN) / BLEND).clamp(0, 1)
    weight = torch.ones(length)
    if before:
        weight = torch.minimum(weight, rising)
    if after:
        weight = torch.minimum(weight, rising.flip(0))
    return weight

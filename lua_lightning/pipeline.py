"""From latents or a photograph to an upscaled image: adapter between encoder and decoder, in tiles when large."""

import inspect
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lua_lightning.environment import best_device
from lua_lightning.errors import UserError
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.backends import Backend, backend_of
from lua_lightning.models.codec import LatentCodec, what_is_not_finite
from lua_lightning.pipeline_parts import black, placed, reduced, replaced
from lua_lightning.sizes import Plan, Target, plan_size, target
from lua_lightning.tiling import tiled
from lua_lightning.zoo import DEFAULT_ADAPTER

log = logging.getLogger(__name__)

BEYOND_RANGE = 0.02  # share of values; trained adapters stay below a tenth of it


def check_pair(adapter: LatentUpscaler, codec: LatentCodec | Backend) -> None:
    """Refuse an adapter and a codec that do not share a latent space.

    Raises:
        UserError: Channels or downscale differ.
    """
    ours, theirs = (adapter.config.channels, adapter.config.downscale), (codec.channels, codec.downscale)
    if ours != theirs:
        raise UserError(
            f"the adapter works on latents of {ours[0]} channels and 1/{ours[1]} size (codec "
            f"{adapter.config.codec or 'unknown'}), but {codec.source} makes {theirs[0]} channels and 1/{theirs[1]}: "
            "choose a codec that fits the adapter"
        )


def takes_scale(adapter: LatentUpscaler, scale: float) -> bool:
    """Return whether the adapter enlarges by `scale`; a LIIF head without a linear skip does by any."""
    config = adapter.config
    return scale in config.scales or (config.head == "liif" and config.skip != "linear")


def scales_for(adapter: LatentUpscaler, wanted: Target) -> tuple[float, ...]:
    """Return what the adapter can enlarge by: what it has heads for, or a whole number where it takes any."""
    if isinstance(wanted.scale, int) and takes_scale(adapter, wanted.scale):
        return (wanted.scale,)
    return adapter.config.scales


def load_pair(
    adapter: str | Path | LatentUpscaler = DEFAULT_ADAPTER,
    codec: str | Path | LatentCodec | None = None,
    scale: int | None = 2,
    device: str | torch.device | None = None,
    sharpness: float = 0.0,
) -> tuple[LatentUpscaler, LatentCodec]:
    """Return an adapter and a codec that fit each other and `scale`, on one device and ready for inference.

    Args:
        adapter: Name, folder, file or hub id, or a loaded adapter, which is moved to the device.
        codec: Likewise; None takes the codec that the adapter was trained on.
        scale: Scale that the adapter must have a head for; None asks for none.
        device: `cpu`, `cuda` or `mps`; None takes the best there is.
        sharpness: From 0, faithful, to 1, crisp; of an adapter that is not loaded yet.

    Raises:
        UserError: One of them cannot be loaded, they do not share a latent space, there is no head for `scale`, or a
            sharpness is asked of a loaded adapter.
    """
    if isinstance(adapter, LatentUpscaler):
        if sharpness:
            raise UserError("the adapter is loaded already: give its sharpness to LatentUpscaler.from_pretrained")
        network = adapter
    else:
        network = LatentUpscaler.from_pretrained(adapter, sharpness=sharpness)
    codec = codec or network.config.codec
    if codec is None:
        name = "the adapter" if adapter is network else adapter
        raise UserError(f"{name} does not say which codec it was trained on: name the codec (codec=, --codec)")
    autoencoder = codec if isinstance(codec, LatentCodec) else LatentCodec.from_pretrained(codec)
    check_pair(network, autoencoder)
    if scale is not None and not takes_scale(network, scale):
        raise UserError(f"there is no head for scale {scale}: the adapter has heads for {list(network.config.scales)}")
    device = device or best_device()
    return network.to(device).eval(), autoencoder.to(device)


@torch.no_grad()
def upscale_latents(
    adapter: LatentUpscaler, codec: LatentCodec | Backend, latents: Tensor, scale: int, tile: int | None = None
) -> Tensor:
    """Return normalised latents (N, C, H, W) enlarged to (N, C, H*scale, W*scale), in the codec's normalised space.

    >>> adapter, codec = load_pair("lua-tiny-d16", device="cpu")
    >>> upscale_latents(adapter, codec, torch.zeros(1, 16, 6, 9), scale=4).shape
    torch.Size([1, 16, 24, 36])

    Args:
        adapter: Its own space (`normalised` or `raw`) is converted to and from.
        codec: The codec of the latents.
        latents: Any H and W.
        scale: One of the adapter's scales.
        tile: Side in latents of the tiles of the input; None takes it whole.

    Raises:
        UserError: Adapter and codec do not share a latent space, or there is no head for `scale`.
    """
    check_pair(adapter, codec)
    return in_adapter_space(adapter, codec, latents, scale, tile)


def in_adapter_space(
    adapter: LatentUpscaler, codec: LatentCodec | Backend, latents: Tensor, scale: int, tile: int | None = None
) -> Tensor:
    """Return normalised latents enlarged in the adapter's own space and normalised again; gradients flow through.

    Args and shapes are those of `upscale_latents`.
    """
    raw = adapter.config.space == "raw"
    inputs = codec.denormalise(latents) if raw else latents
    if tile:
        outputs = tiled(lambda part: adapter(part, scale), inputs, scale, tile, overlap=min(8, tile // 2))
    else:
        outputs = adapter(inputs, scale)
    return codec.normalise(outputs) if raw else outputs


def range_in_adapter_space(
    adapter: LatentUpscaler, codec: LatentCodec, low: Sequence[float], high: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Return the range of each channel of normalised latents, (C,) each, converted to the adapter's space.

    Where a codec's factors differ by position in a cell (FLUX.2), it is the widest range over the positions.
    """
    if adapter.config.space != "raw":
        return list(low), list(high)
    cell = codec.scale.shape[-1]
    ends = (torch.tensor(values, device=codec.device).view(1, -1, 1, 1) for values in (low, high))
    raw_low, raw_high = (codec.denormalise(values.expand(1, -1, cell, cell)) for values in ends)
    return raw_low.amin((0, 2, 3)).tolist(), raw_high.amax((0, 2, 3)).tolist()


def out_of_range(adapter: LatentUpscaler, codec: LatentCodec, latents: Tensor) -> Tensor:
    """Return `adapter.out_of_range` of normalised latents (N, C, H, W), converted to the adapter's space; (N,)."""
    return adapter.out_of_range(codec.denormalise(latents) if adapter.config.space == "raw" else latents)


def warn_of_range(adapter: LatentUpscaler, codec: LatentCodec, latents: Tensor) -> None:
    """Log a warning when more than `BEYOND_RANGE` of enlarged latents lie beyond the adapter's training range."""
    beyond = float(out_of_range(adapter, codec, latents).mean())
    if beyond > BEYOND_RANGE:
        log.warning(
            "%.1f %% of the enlarged latents lie beyond the range that the adapter was trained on: "
            "the decoder may show broken pixels there", 100 * beyond,
        )  # fmt: skip


@torch.inference_mode()
def upscale_tensor(
    adapter: LatentUpscaler, codec: LatentCodec, image: Tensor, scale: int, tile: int | None = 1024
) -> Tensor:
    """Return a photograph (N, 3, H, W) in [-1, 1] enlarged to (N, 3, H*scale, W*scale), clamped to [-1, 1].

    Args:
        adapter: Any adapter that fits the codec.
        codec: Encodes the photograph and decodes the result.
        image: Any H and W; it is padded inside to whole latents by repeating the border.
        scale: One of the adapter's scales.
        tile: Side in pixels of the tiles of the result, which bounds the memory; None works on the whole.

    Logs what `warn_of_range` has to say.
    """
    height, width = image.shape[-2:]
    unit = codec.downscale
    padded = F.pad(image, (0, -width % unit, 0, -height % unit), mode="replicate")
    in_latents = tile // unit if tile else None
    latents = codec.encode(padded, tile=tile)
    enlarged = upscale_latents(adapter, codec, latents, scale, tile=in_latents // scale if in_latents else None)
    warn_of_range(adapter, codec, enlarged)
    return codec.decode(enlarged, tile=in_latents)[..., : height * scale, : width * scale].clamp(-1, 1)


class UpscaledPipeline:
    """A diffusers pipeline with an adapter before its decoder: called as that pipeline, it returns larger images.

    The latents are enlarged at the moment when the pipeline hands them to its autoencoder. So every argument, size,
    offload, tiling, watermark and safety check is the pipeline's own. Nothing stays changed after a call: neither the
    autoencoder, nor where the adapter is.

    >>> from lua_lightning.generators.generator import Generator
    >>> pipe = Generator.from_pretrained("tiny-sdxl").pipe  # or any pipeline with a `vae` that LatentCodec knows
    >>> upscaled = UpscaledPipeline(pipe, LatentUpscaler.from_pretrained("lua-tiny-d16"), scale=2)
    >>> upscaled("a lighthouse in a storm", height=64, width=96, num_inference_steps=1).images[0].size
    (192, 128)

    Args:
        pipe: Any loaded diffusers pipeline that decodes with a `vae` of a class in `models.backends.BACKENDS`, such as
            those of SDXL, SD3, FLUX, FLUX.2, Qwen-Image, SANA, their image-to-image, ControlNet and editing variants.
        adapter: Trained on that autoencoder's latents; each call works where the pipeline's latents are.
        scale: Times the pipeline's own width and height; 2 when no size is given. Between the adapter's scales it
            enlarges by the next larger one, and an antialiased filter reduces the decoded images.
        tile: Side in pixels of the tiles of the result that the adapter works on; None works on the whole. The
            autoencoder decodes in tiles where the pipeline's does (`pipe.vae.enable_tiling()`).
        size: Width and height of the images in pixels, instead of `scale`.
        megapixels: Millions of pixels, instead of `scale`.
        fit: How `size` is met: "inside" keeps the aspect and the whole image, "crop" fills it and cuts what sticks out.

    Raises:
        UserError: The pipeline has no such autoencoder, or the adapter was made for other latents.
    """

    def __init__(
        self,
        pipe: Any,
        adapter: LatentUpscaler,
        scale: float | None = None,
        tile: int | None = 1024,
        *,
        size: tuple[int, int] | None = None,
        megapixels: float | None = None,
        fit: str = "inside",
    ):
        name, vae = type(pipe).__name__, getattr(pipe, "vae", None)
        if vae is None or "output_type" not in inspect.signature(pipe.__call__).parameters:
            raise UserError(
                f"a pipeline of class {name} cannot be enlarged: it needs an autoencoder (`vae`) and `output_type`"
            )
        self.pipe, self.adapter, self.tile = pipe, adapter, tile
        self.wanted = target(scale, size, megapixels, fit)
        check_pair(adapter, backend_of(vae, name))
        if self.wanted.scale and self.wanted.scale > max(scales_for(adapter, self.wanted)):
            largest = max(adapter.config.scales)
            raise UserError(f"the adapter enlarges at most {largest} times, not scale={self.wanted.scale:g} times")

    def plan(self, width: int, height: int) -> Plan:
        """Return how images that the pipeline would make of `width` x `height` pixels come to their size.

        Raises:
            UserError: The size asked for is beyond the adapter's largest scale.
        """
        return plan_size(width, height, self.wanted, scales_for(self.adapter, self.wanted), "the pipeline's image")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the pipeline returns for these arguments, as large as asked.

        Sizes are the base image's, as the pipeline takes them. `output_type="latent"` gives enlarged normalised
        latents (N, C, H, W), or (N, C, frames, H, W) of a film, as `LatentCodec.decode` takes them, also where the
        pipeline packs its own.

        Raises:
            UserError: Latents or images are not finite; the pipeline pastes its result into the original image; or
                latents are asked for in a size that is none of the adapter's scales.
        """
        call = inspect.signature(self.pipe.__call__).bind(*args, **kwargs)
        if call.arguments.get("padding_mask_crop") is not None:
            raise UserError(
                "padding_mask_crop pastes the result into the original image at its own size, which undoes the "
                "enlargement: leave it out"
            )
        wanted = call.arguments.get("output_type") == "latent"
        if wanted:
            call.arguments["output_type"] = "pt"
        latents, problems = [], []
        with self._enlarging(latents, problems, decode=not wanted):
            result = self.pipe(*call.args, **call.kwargs)
        if problems:  # told now, when the pipeline has put its parts back in order
            raise UserError(problems[0])
        if not latents:
            raise UserError(f"{type(self.pipe).__name__} returned without decoding by its `vae`: it cannot be enlarged")
        if not wanted:
            return result
        if isinstance(result, tuple):
            return (torch.cat(latents), *result[1:])
        result[next(iter(result))] = torch.cat(latents)
        return result

    @contextmanager
    def _enlarging(self, latents: list[Tensor], problems: list[str], decode: bool) -> Iterator[None]:
        """Enlarge what the pipeline's own code gives its autoencoder to decode meanwhile.

        Args:
            latents: Receives the enlarged normalised latents of each decoding.
            problems: Receives what must not become a picture.
            decode: Whether to decode them too; otherwise the pipeline gets a small black image to go on with.
        """
        vae, processor = self.pipe.vae, getattr(self.pipe, "image_processor", None)
        decode_plain, binned = vae.decode, getattr(processor, "resize_and_crop_tensor", None)
        modules = {kind.__module__ for kind in type(self.pipe).__mro__}

        def decode_enlarged(raw: Tensor, *args: Any, **options: Any) -> Any:
            if sys._getframe(1).f_globals.get("__name__") not in modules:
                return decode_plain(raw, *args, **options)  # a callback that shows what the latents have become
            unit = backend_of(vae, type(self.pipe).__name__).downscale
            try:
                plan = self.plan(raw.shape[-1] * unit, raw.shape[-2] * unit)
                if not decode and plan.size != plan.enlarged:
                    scales = " or ".join(str(scale) for scale in self.adapter.config.scales)
                    raise UserError(
                        f"latents cannot be reduced to {self.wanted.ending}, which pixels can: ask for scale={scales}, "
                        'or for another output_type than "latent"'
                    )
            except UserError as error:
                problems.append(str(error))
                return black(raw, *args, **options)
            enlarged, larger = self._enlarge(raw, int(plan.scale))
            latents.append(enlarged)
            result = decode_plain(larger, *args, **options) if decode else black(raw, *args, **options)
            problem = what_is_not_finite(enlarged, result[0], type(self.pipe).__name__, raw.dtype)
            if problem:
                problems.append(problem)
                result[0].nan_to_num_()
            return reduced(result, plan) if decode else result

        def resize_enlarged(samples: Tensor, new_width: int, new_height: int) -> Tensor:
            plan = self.plan(new_width, new_height)
            return binned(samples, *plan.size)  # pyright: ignore[reportOptionalCall]

        with replaced(vae, "decode", decode_enlarged):
            if binned is None:
                yield
                return
            with replaced(processor, "resize_and_crop_tensor", resize_enlarged):  # SANA and PixArt bin their sizes
                yield

    def _enlarge(self, raw: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        """Return the enlargement of raw latents (N, C, H, W) or (N, C, frames, H, W), normalised and raw."""
        vae, name = self.pipe.vae, type(self.pipe).__name__
        given = backend_of(vae, name)
        wrapped = getattr(vae, "latent_codec", None)
        codec = given if wrapped is None else backend_of(wrapped.model, name)
        frames = raw.transpose(1, 2).flatten(0, 1) if raw.ndim == 5 else raw
        tile = int(self.tile // given.downscale // scale) if self.tile else None
        with placed(self.adapter, raw.device):
            enlarged = upscale_latents(self.adapter, codec, given.normalise(frames), scale, tile)
        larger = given.denormalise(enlarged).to(raw.dtype)
        if raw.ndim == 5:
            larger = larger.unflatten(0, (len(raw), -1)).transpose(1, 2)
            if raw.shape[2] > 1:
                enlarged = enlarged.unflatten(0, (len(raw), -1)).transpose(1, 2)
        return enlarged, larger

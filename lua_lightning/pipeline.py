"""From latents or a photograph to an upscaled image: adapter between encoder and decoder, in tiles when large."""

import logging
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lua_lightning.environment import best_device
from lua_lightning.errors import UserError
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.tiling import tiled

log = logging.getLogger(__name__)

BEYOND_RANGE = 0.02  # share of values; trained adapters stay below a tenth of it


def check_pair(adapter: LatentUpscaler, codec: LatentCodec) -> None:
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


def load_pair(
    adapter: str | Path | LatentUpscaler = "lua-tiny-d16",
    codec: str | Path | LatentCodec | None = None,
    scale: int = 2,
    device: str | torch.device | None = None,
) -> tuple[LatentUpscaler, LatentCodec]:
    """Return an adapter and a codec that fit each other and `scale`, on one device and ready for inference.

    Args:
        adapter: Name, folder, file or hub id, or a loaded adapter, which is moved to the device.
        codec: Likewise; None takes the codec that the adapter was trained on.
        scale: Scale that the adapter must have a head for.
        device: `cpu`, `cuda` or `mps`; None takes the best there is.

    Raises:
        UserError: One of them cannot be loaded, they do not share a latent space, or there is no head for `scale`.
    """
    network = adapter if isinstance(adapter, LatentUpscaler) else LatentUpscaler.from_pretrained(adapter)
    codec = codec or network.config.codec
    if codec is None:
        name = "the adapter" if adapter is network else adapter
        raise UserError(f"{name} does not say which codec it was trained on: name the codec (codec=, --codec)")
    autoencoder = codec if isinstance(codec, LatentCodec) else LatentCodec.from_pretrained(codec)
    check_pair(network, autoencoder)
    if scale not in network.config.scales:
        raise UserError(f"there is no head for scale {scale}: the adapter has heads for {list(network.config.scales)}")
    device = device or best_device()
    return network.to(device).eval(), autoencoder.to(device)


@torch.inference_mode()
def upscale_latents(
    adapter: LatentUpscaler, codec: LatentCodec, latents: Tensor, scale: int, tile: int | None = None
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
    raw = adapter.config.space == "raw"
    inputs = codec.denormalise(latents) if raw else latents
    if tile:
        outputs = tiled(lambda part: adapter(part, scale), inputs, scale, tile, overlap=min(8, tile // 2))
    else:
        outputs = adapter(inputs, scale)
    return codec.normalise(outputs) if raw else outputs


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

    >>> from lua_lightning.generators.generator import Generator
    >>> pipe = Generator.from_pretrained("tiny-sdxl").pipe  # or any loaded SDXL, SD3, FLUX or FLUX.2 pipeline
    >>> upscaled = UpscaledPipeline(pipe, LatentUpscaler.from_pretrained("lua-tiny-d16"), scale=2)
    >>> upscaled("a lighthouse in a storm", height=64, width=96, num_inference_steps=1).images[0].size
    (192, 128)

    Args:
        pipe: A pipeline of a class in `generators.FAMILIES`, with its autoencoder.
        adapter: Trained on that autoencoder's latents; moved to the pipeline's device.
        scale: 2 or 4.
        tile: Side in pixels of the tiles of the result, which bounds the memory; None works on the whole.

    Raises:
        UserError: The pipeline's class is not known, or the adapter was made for other latents.
    """

    def __init__(self, pipe: Any, adapter: LatentUpscaler, scale: int = 2, tile: int | None = 1024):
        from lua_lightning.generators.codec_vae import codec_of
        from lua_lightning.generators.generator import family_of

        self.pipe, self.adapter, self.scale, self.tile = pipe, adapter, scale, tile
        self.family = family_of(pipe)
        self.codec = codec_of(pipe.vae, type(pipe).__name__)
        check_pair(adapter, self.codec)
        if scale not in adapter.config.scales:
            raise UserError(f"the adapter has heads for {list(adapter.config.scales)}, not for scale={scale}")

    @torch.inference_mode()
    def __call__(self, *args: Any, output_type: str = "pil", return_dict: bool = True, **kwargs: Any) -> Any:
        """Return what the pipeline returns for these arguments, `scale` times as large.

        `height` and `width` are the base image's, as the pipeline takes them. `output_type="latent"` gives enlarged
        normalised latents (N, C, H, W), unpacked also for FLUX.
        """
        result = self.pipe(*args, output_type="latent", return_dict=True, **kwargs)
        unit = self.codec.downscale
        height, width = (kwargs.get(side) or self._default_side() for side in ("height", "width"))
        latents = self.family.unpack(result.images, height // unit, width // unit)
        self.adapter.to(latents.device).eval()
        self.codec.to(latents.device)
        tile = self.tile // unit if self.tile else None
        enlarged = upscale_latents(
            self.adapter, self.codec, latents.float(), self.scale, tile=tile // self.scale if tile else None
        )
        if output_type == "latent":
            result.images = enlarged
        else:
            images = self.codec.decode(enlarged, tile=tile)
            result.images = self.pipe.image_processor.postprocess(images, output_type=output_type)
        return result if return_dict else (result.images,)

    def _default_side(self) -> int:
        return self.pipe.default_sample_size * self.pipe.vae_scale_factor

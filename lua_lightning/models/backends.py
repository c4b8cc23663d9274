"""One entry per autoencoder class: how it encodes and decodes, and how its pipelines normalise its latents."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lua_lightning.errors import UserError
from lua_lightning.models.factors import denormalise, factors_of, normalise
from lua_lightning.models.reach import reach_of
from lua_lightning.models.tiny_autoencoder import TinyAutoencoder

RGB = 3


@dataclass(frozen=True)
class Backend:
    """How one autoencoder encodes to and decodes from its own raw latents, and what its pipelines make of those.

    `normalised = (raw - shift) * scale`, in float32 whatever the autoencoder's dtype.
    """

    channels: int
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    shift: Tensor  # broadcastable to (1, C, p, p): one value per channel and position in a p x p cell
    scale: Tensor
    downscale: int = 8
    source: str = "the autoencoder"  # what errors call it
    encoder_reach: int | None = None  # latents beyond a place that matter to it; None where that is not known
    decoder_reach: int | None = None

    def normalise(self, raw: Tensor) -> Tensor:
        """Return (raw - shift) * scale as float32; same shape."""
        return normalise(raw, self.shift.to(raw.device), self.scale.to(raw.device))

    def denormalise(self, latents: Tensor) -> Tensor:
        """Return latents / scale + shift as float32; same shape."""
        return denormalise(latents, self.shift.to(latents.device), self.scale.to(latents.device))


def _of(model: Any, channels: int, encode: Callable, decode: Callable) -> Backend:
    shift, scale = factors_of(model)
    return Backend(channels, encode, decode, shift, scale)


def _plain(channels: int, encode: Callable, decode: Callable) -> Backend:
    """Return the backend of an autoencoder whose latents pipelines take as they are."""
    return Backend(channels, encode, decode, torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))


def _patch(model: Any) -> Backend:
    backend = _of(model, model.config.latent_channels, model.encode, model.decode)
    return replace(backend, encoder_reach=reach_of(model.encoder), decoder_reach=reach_of(model.decoder))


def _kl(model: Any) -> Backend:
    return _of(
        model,
        model.config.latent_channels,
        lambda images: model.encode(images).latent_dist.mode(),
        lambda latents: model.decode(latents).sample,
    )


def _tiny_autoencoder(model: TinyAutoencoder) -> Backend:
    backend = _plain(model.config.latent_channels, model.encode, model.decode)
    # An encoder counts in pixels. What it sees of them is rounded up to whole latents.
    pixels, latents = reach_of(model.encoder), reach_of(model.decoder)
    encoder = None if pixels is None else -(-pixels // model.downscale)
    return replace(backend, encoder_reach=encoder, decoder_reach=latents)


def _diffusers_tiny(model: Any) -> Backend:
    return _of(
        model,
        model.config.latent_channels,
        lambda images: model.encode(images).latents,
        lambda latents: model.decode(latents).sample,
    )


def _deep_compression(model: Any) -> Backend:
    return _of(
        model,
        model.config.latent_channels,
        lambda images: model.encode(images).latent,
        lambda latents: model.decode(latents).sample,
    )


def _video(model: Any) -> Backend:
    """Wan's and Qwen-Image's autoencoders are made for films: an image is a film of one frame.

    Those that keep transparency, as a fourth channel, get an opaque image and give its colours.
    """
    config = model.config
    inputs = getattr(config, "input_channels", None) or config.in_channels
    planes = inputs // (getattr(config, "patch_size", None) or 1) ** 2

    def encode(images: Tensor) -> Tensor:
        opaque = F.pad(images, (0, 0, 0, 0, 0, planes - RGB), value=1.0)
        return model.encode(opaque[:, :, None]).latent_dist.mode()[:, :, 0]

    def decode(latents: Tensor) -> Tensor:
        return model.decode(latents[:, :, None]).sample[:, :RGB, 0]

    return _of(model, config.z_dim, encode, decode)


def _wrapped_codec(model: Any) -> Backend:
    """A `CodecAutoencoder` is given what its codec has normalised already."""
    codec = model.latent_codec
    return _plain(codec.channels, codec.encode, codec.decode)


BACKENDS: dict[str, Callable[[Any], Backend]] = {
    "PatchAutoencoder": _patch,
    "TinyAutoencoder": _tiny_autoencoder,
    "AutoencoderKL": _kl,
    "AutoencoderTiny": _diffusers_tiny,
    "AutoencoderKLFlux2": _kl,
    "AutoencoderKLQwenImage": _video,
    "AutoencoderKLQwenImage21": _video,
    "AutoencoderKLWan": _video,
    "CodecAutoencoder": _wrapped_codec,
    "AutoencoderDC": _deep_compression,
}


def backend_of(model: nn.Module, source: str) -> Backend:
    """Return how a loaded autoencoder is used; the autoencoder itself is left as it is.

    Args:
        model: An autoencoder of a class in `BACKENDS`.
        source: What it is called in errors.

    Raises:
        UserError: Its class is no known autoencoder.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile wrapped
    kinds = [kind.__name__ for kind in type(model).__mro__]
    name = next((kind for kind in kinds if kind in BACKENDS), None)
    if name is None:
        raise UserError(f"{source} is an autoencoder of class {kinds[0]!r}, not one of: {', '.join(BACKENDS)}")
    return replace(BACKENDS[name](model), downscale=_downscale(model), source=source)


def _downscale(model: Any) -> int:
    """Return how many pixels a latent has along one side."""
    levels = getattr(getattr(model, "config", None), "block_out_channels", None)
    if levels:
        return 2 ** (len(levels) - 1)
    return getattr(model, "spatial_compression_ratio", None) or getattr(model, "downscale", 8)

"""A LatentCodec in the shape that diffusers' pipelines expect of their autoencoder."""

from types import SimpleNamespace
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from lua_lightning.models.codec import LatentCodec


class CodecAutoencoder(ModelMixin, ConfigMixin):
    """Let a diffusers pipeline encode and decode with any codec; its latents are the codec's normalised ones.

    A pipeline multiplies by `scaling_factor` after encoding and divides before decoding: here it is 1, since the codec
    has normalised already.
    """

    @register_to_config
    def __init__(self, codec: str = "tiny-d16"):
        super().__init__()
        self.latent_codec = LatentCodec.from_pretrained(codec)
        levels = self.latent_codec.downscale.bit_length()  # pipelines read the downscale off the number of blocks
        self.register_to_config(
            latent_channels=self.latent_codec.channels,
            block_out_channels=(1,) * levels,
            scaling_factor=1.0,
            force_upcast=False,
        )

    @apply_forward_hook
    def encode(self, images: Tensor) -> SimpleNamespace:
        """Return `latent_dist` with `sample` and `mode` of images (N, 3, H, W) in [-1, 1]; there is no randomness."""
        latents = self.latent_codec.encode(images)
        distribution = SimpleNamespace(sample=lambda generator=None: latents, mode=lambda: latents)
        return SimpleNamespace(latent_dist=distribution)

    @apply_forward_hook
    def decode(self, latents: Tensor, return_dict: bool = True, generator: torch.Generator | None = None):
        """Return images (N, 3, 8H, 8W) of normalised latents (N, C, H, W), as `sample` or in a tuple."""
        images = self.latent_codec.decode(latents)
        return DecoderOutput(sample=images) if return_dict else (images,)


def codec_of(vae: Any, source: str) -> LatentCodec:
    """Return the codec of a pipeline's autoencoder: the one that it wraps, or one around it.

    Raises:
        UserError: Its class is no known autoencoder.
    """
    return vae.latent_codec if isinstance(vae, CodecAutoencoder) else LatentCodec.of(vae, source)

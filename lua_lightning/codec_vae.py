"""A LatentCodec in the shape that diffusers' pipelines expect of their autoencoder."""

from types import SimpleNamespace

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from lua_lightning.codec import LatentCodec


class CodecAutoencoder(ModelMixin, ConfigMixin):
    """Let a diffusers pipeline encode and decode with any codec; its latents are the codec's normalised ones.

    A pipeline multiplies by `scaling_factor` after encoding and divides before decoding: here it is 1, since the codec
    has normalised already.
    """

    @register_to_config
    def __init__(
        self,
        codec: str = "tiny-d16",
        latent_channels: int = 16,
        block_out_channels: tuple[int, ...] = (1, 1, 1, 1),  # of which pipelines read the length: downscale 2**3
        scaling_factor: float = 1.0,
        force_upcast: bool = False,
    ):
        super().__init__()
        self.latent_codec = LatentCodec.from_pretrained(codec)

    @classmethod
    def of(cls, name: str) -> "CodecAutoencoder":
        """Return the wrapper of the codec called `name`."""
        codec = LatentCodec.from_pretrained(name)
        levels = codec.downscale.bit_length()
        return cls(name, codec.channels, (1,) * levels)

    def encode(self, images: Tensor) -> SimpleNamespace:
        """Return `latent_dist` with `sample` and `mode` of images (N, 3, H, W) in [-1, 1]; there is no randomness."""
        latents = self.latent_codec.encode(images)
        distribution = SimpleNamespace(sample=lambda generator=None: latents, mode=lambda: latents)
        return SimpleNamespace(latent_dist=distribution)

    def decode(self, latents: Tensor, return_dict: bool = True, generator: torch.Generator | None = None):
        """Return images (N, 3, 8H, 8W) of normalised latents (N, C, H, W), as `sample` or in a tuple."""
        images = self.latent_codec.decode(latents)
        return DecoderOutput(sample=images) if return_dict else (images,)

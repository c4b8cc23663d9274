"""The embedded autoencoder as a model of diffusers; `export pipeline` sends it out in one file with its network."""

from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor

from lua_lightning.export.carried import CarriedModel
from lua_lightning.models.patch_network import PatchNetwork


class PatchAutoencoder(PatchNetwork, CarriedModel):
    """A linear patch code with learned residuals: encode images to latents of 1/8 their size, and back."""

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        patch_size: int = 8,
        width: int = 128,
        encoder_blocks: int = 3,
        decoder_blocks: int = 5,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ) -> None:
        super().__init__(latent_channels, patch_size, width, encoder_blocks, decoder_blocks)

    def encode(self, images: Tensor, return_dict: bool = True) -> AutoencoderTinyOutput | tuple[Tensor]:
        """Return raw latents (N, C, H/8, W/8) of images (N, 3, H, W) in [-1, 1], H and W multiples of 8."""
        latents = self.to_latents(images)
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    def decode(self, latents: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """Return images (N, 3, H, W), around [-1, 1] and not clamped, of raw latents (N, C, H/8, W/8)."""
        images = self.to_images(latents)
        return DecoderOutput(sample=images) if return_dict else (images,)


PatchAutoencoder.register_for_auto_class("AutoModel")

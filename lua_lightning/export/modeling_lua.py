"""The network as a model of diffusers; `export diffusers` sends it out, joined with the network's own files."""

from collections.abc import Sequence

from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor

from lua_lightning.export.carried import CarriedModel
from lua_lightning.models.network import UpscalerNetwork


class LatentUpscalerLUA(UpscalerNetwork, CarriedModel):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A latent upscaler adapter (LUA, arXiv 2511.10629): enlarge latents 2 or 4 times in one pass.

    Args:
        channels: Channels of the latents.
        codec: Name of the autoencoder whose latents it was trained on; informative.
        space: Latents it works on: "normalised", as a generator sees them, or "raw", as the autoencoder makes them.
        embed_dim: Width of the trunk.
        depths: Blocks of each residual Swin group.
        num_heads: Attention heads of every block.
        window_size: Side of the attention windows.
        mlp_ratio: Hidden width of a block's MLP over `embed_dim`.
        head_dim: Width of the upsampling heads.
        head: Kind of head; only "pixelshuffle" is here.
        scales: Scales it has a head for.
        skip: What a head's output is added to: "bicubic", "linear" or "none".
        downscale: Image pixels per latent along one side.
        latent_range: Lowest and highest value of each channel in the training latents.
        residual_bound: Largest residual, in half widths of each channel's range; 0 leaves it free.
    """

    _repeated_blocks = ["SwinBlock"]  # noqa: RUF012
    _no_split_modules = ["SwinGroup"]  # noqa: RUF012
    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        channels: int = 16,
        codec: str | None = None,
        space: str = "normalised",
        embed_dim: int = 48,
        depths: Sequence[int] = (4, 4),
        num_heads: int = 3,
        window_size: int = 8,
        mlp_ratio: float = 2.0,
        head_dim: int = 32,
        head: str = "pixelshuffle",
        scales: Sequence[int] = (2, 4),
        skip: str = "bicubic",
        downscale: int = 8,
        latent_range: Sequence[Sequence[float]] | None = None,
        residual_bound: float = 0.0,
    ) -> None:
        sizes = (channels, embed_dim, depths, num_heads, window_size, mlp_ratio, head_dim)
        super().__init__(*sizes, scales, skip, latent_range, residual_bound)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, latents: Tensor, scale: int = 2, return_dict: bool = True
    ) -> DecoderOutput | tuple[Tensor]:
        """Return latents (B, channels, H, W), any H and W, enlarged to (B, channels, H*scale, W*scale), same dtype.

        Args:
            latents: In the space that `config.space` names.
            scale: One of `config.scales`.
            return_dict: Whether the result is in `sample` of a `DecoderOutput`, or in a tuple.

        Raises:
            ValueError: The latents have another number of channels, or there is no head for `scale`.
        """
        enlarged = super().forward(latents, scale)
        return DecoderOutput(sample=enlarged) if return_dict else (enlarged,)


LatentUpscalerLUA.register_for_auto_class("AutoModel")

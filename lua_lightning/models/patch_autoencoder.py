"""The embedded autoencoder: a linear patch code (PCA) with learned residuals.

An ordinary convolutional autoencoder needs hours of training to become sharp. Here the first code and the first
reconstruction come from a principal component analysis of 8x8 RGB patches, and small residual networks that work at
1/8 resolution, with zero-initialised last layers, add what a linear code cannot: context between patches.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lua_lightning.errors import UserError, unknown_name
from lua_lightning.models.pretrained import find_pretrained, read_config, read_weights, write_pretrained


@dataclass(frozen=True)
class PatchAutoencoderConfig:
    """The architecture and the latent statistics of a `PatchAutoencoder`."""

    latent_channels: int = 16
    """Channels of the latents."""
    patch_size: int = 8
    """Side of a patch in pixels, which is also the downscale factor."""
    width: int = 128
    """Channels of the residual networks."""
    encoder_blocks: int = 3
    """Residual blocks of the encoder. 0 leaves the linear code alone."""
    decoder_blocks: int = 5
    """Residual blocks of the decoder."""
    scaling_factor: float = 1.0
    """Factor of the normalisation: normalised = (raw - shift_factor) * scaling_factor."""
    shift_factor: float = 0.0
    """Offset of the normalisation."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection; (N, width, h, w) -> same."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


def residual_network(in_channels: int, out_channels: int, width: int, blocks: int) -> nn.Sequential:
    """Return conv, residual blocks, conv; the last layer starts at zero, so that the network adds nothing at first."""
    last = nn.Conv2d(width, out_channels, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    first = nn.Conv2d(in_channels, width, 3, padding=1)
    return nn.Sequential(first, *(ResidualBlock(width) for _ in range(blocks)), nn.SiLU(), last)


class PatchAutoencoder(nn.Module):
    """Encode images to latents of 1/8 their size, and back; deterministic, no sampling."""

    def __init__(self, config: PatchAutoencoderConfig):
        super().__init__()
        self.config = config
        patch_values = 3 * config.patch_size**2
        self.analysis = nn.Conv2d(patch_values, config.latent_channels, 1)
        self.synthesis = nn.Conv2d(config.latent_channels, patch_values, 1)
        if config.encoder_blocks:
            self.encoder = residual_network(patch_values, config.latent_channels, config.width, config.encoder_blocks)
        self.decoder = residual_network(config.latent_channels, patch_values, config.width, config.decoder_blocks)

    def encode(self, images: Tensor) -> Tensor:
        """Return raw latents (N, C, H/8, W/8) of images (N, 3, H, W) in [-1, 1], H and W multiples of 8."""
        patches = F.pixel_unshuffle(images, self.config.patch_size).contiguous(memory_format=torch.channels_last)
        latents = self.analysis(patches)
        return latents + self.encoder(patches) if self.config.encoder_blocks else latents

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (N, 3, H, W), around [-1, 1] and not clamped, of raw latents (N, C, H/8, W/8)."""
        latents = latents.contiguous(memory_format=torch.channels_last)
        return F.pixel_shuffle(self.synthesis(latents) + self.decoder(latents), self.config.patch_size)

    @torch.no_grad()
    def set_linear_code(self, patches: Tensor) -> None:
        """Set the linear part from the principal components of `patches` (N, 3 * patch_size**2).

        Component i is divided by the square root of its standard deviation: between whitening, which gives weak
        components the weight of strong ones, and plain PCA, where the first component drowns the rest.
        """
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov((patches - mean).T.double()))
        order = values.argsort(descending=True)[: self.config.latent_channels]
        basis, scale = vectors[:, order].float(), values[order].float().pow(0.25)  # variance ** 1/4 = sd ** 1/2
        analysis, synthesis = basis.T / scale[:, None], basis * scale
        self.analysis.weight.copy_(analysis[:, :, None, None])
        self.analysis.bias.copy_(-analysis @ mean)  # type: ignore[union-attr]
        self.synthesis.weight.copy_(synthesis[:, :, None, None])
        self.synthesis.bias.copy_(mean)  # type: ignore[union-attr]

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "PatchAutoencoder":
        """Load from a zoo name, a local folder or a hub id; half-precision weights become float32.

        Raises:
            UserError: The folder is not there, has an unknown setting, or its weights do not fit its config.
        """
        folder = find_pretrained(source)
        settings = {key: value for key, value in read_config(folder).items() if not key.startswith("_")}
        known = [field.name for field in fields(PatchAutoencoderConfig)]
        for key in settings:
            if key not in known:
                raise unknown_name(f"setting in {folder / 'config.json'}", key, known)
        model = cls(PatchAutoencoderConfig(**settings))
        weights = {name: tensor.float() for name, tensor in read_weights(folder).items()}
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(f"the weights in {folder} do not fit its config.json: {error}") from error
        return model

    def save_pretrained(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write config and weights into `folder`, weights as `dtype` to keep the file small."""
        config = {"_class_name": type(self).__name__, **asdict(self.config)}
        write_pretrained(folder, config, {name: tensor.to(dtype) for name, tensor in self.state_dict().items()})

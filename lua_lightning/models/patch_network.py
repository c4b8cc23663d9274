"""The network of the embedded autoencoder: this file needs nothing but PyTorch.

An ordinary convolutional autoencoder needs hours of training to become sharp. Here the first code and the first
reconstruction come from a principal component analysis of 8x8 RGB patches, and small residual networks that work at
1/8 resolution, with zero-initialised last layers, add what a linear code cannot: context between patches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


class PatchNetwork(nn.Module):
    """Encode images to latents of 1/8 their size, and back; `PatchAutoencoderConfig` explains the arguments."""

    def __init__(self, latent_channels: int, patch_size: int, width: int, encoder_blocks: int, decoder_blocks: int):
        super().__init__()
        self.patch_size, patch_values = patch_size, 3 * patch_size**2
        self.analysis = nn.Conv2d(patch_values, latent_channels, 1)
        self.synthesis = nn.Conv2d(latent_channels, patch_values, 1)
        self.encoder = (
            residual_network(patch_values, latent_channels, width, encoder_blocks) if encoder_blocks else None
        )
        self.decoder = residual_network(latent_channels, patch_values, width, decoder_blocks)

    def to_latents(self, images: Tensor) -> Tensor:
        """Return raw latents (N, C, H/8, W/8) of images (N, 3, H, W) in [-1, 1], H and W multiples of 8."""
        patches = F.pixel_unshuffle(images, self.patch_size).contiguous(memory_format=torch.channels_last)
        latents = self.analysis(patches)
        return latents if self.encoder is None else latents + self.encoder(patches)

    def to_images(self, latents: Tensor) -> Tensor:
        """Return images (N, 3, H, W), around [-1, 1] and not clamped, of raw latents (N, C, H/8, W/8)."""
        latents = latents.contiguous(memory_format=torch.channels_last)
        return F.pixel_shuffle(self.synthesis(latents) + self.decoder(latents), self.patch_size)

    @torch.no_grad()
    def set_linear_code(self, patches: Tensor) -> None:
        """Set the linear part from the principal components of `patches` (N, 3 * patch_size**2).

        Component i is divided by the square root of its standard deviation: between whitening, which gives weak
        components the weight of strong ones, and plain PCA, where the first component drowns the rest.
        """
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov((patches - mean).T.double()))
        order = values.argsort(descending=True)[: self.analysis.out_channels]
        basis, scale = vectors[:, order].float(), values[order].float().pow(0.25)  # variance ** 1/4 = sd ** 1/2
        analysis, synthesis = basis.T / scale[:, None], basis * scale
        self.analysis.weight.copy_(analysis[:, :, None, None])
        self.analysis.bias.copy_(-analysis @ mean)  # type: ignore[union-attr]
        self.synthesis.weight.copy_(synthesis[:, :, None, None])
        self.synthesis.bias.copy_(mean)  # type: ignore[union-attr]

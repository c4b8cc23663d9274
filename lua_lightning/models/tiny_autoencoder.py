"""The tiny autoencoders TAESD, TAESDXL, TAESD3, TAEF1 and TAEF2 (github.com/madebyollin/taesd), in one small module.

They replace a generator's large autoencoder by a few convolutions of width 64. Their latents are the generator's
normalised ones, so they need neither shift nor scale. TAEF2 adds a pooling branch with group normalisation to the
blocks at latent resolution, which diffusers' `AutoencoderTiny` does not have.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lua_lightning.errors import UserError
from lua_lightning.models.pretrained import CONFIG_NAME, load_exactly, read_config, read_weights

CLAMP = 3.0  # the decoder squeezes latents into (-3, 3) by a tanh
POOL_GROUPS, POOL_WIDENING = 4, 4
SUFFIXES = (".safetensors", ".pth")
PARTS = ("encoder", "decoder")
FIXED = {"act_fn": "relu", "upsample_fn": "nearest", "upsampling_scaling_factor": 2}  # of diffusers' settings


@dataclass(frozen=True)
class TinyAutoencoderConfig:
    """The sizes of a tiny autoencoder; the defaults are the published ones."""

    latent_channels: int = 4
    """Channels of the latents: 4 for SD and SDXL, 16 for SD3 and FLUX, 32 for FLUX.2."""
    width: int = 64
    """Channels of every hidden layer."""
    encoder_blocks: tuple[int, ...] = (1, 3, 3, 3)
    """Residual blocks at each resolution of the encoder, from pixels to latents."""
    decoder_blocks: tuple[int, ...] = (3, 3, 3, 1)
    """Residual blocks at each resolution of the decoder, from latents to pixels."""
    pooled: bool = False
    """Whether the blocks at latent resolution have a branch with group normalisation, as in TAEF2."""


class Block(nn.Module):
    """Add three convolutions to features (N, width, H, W); a pooled block first adds a normalised 1x1 branch."""

    def __init__(self, width: int, pooled: bool) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), convolutions[2])
        if pooled:
            wide = POOL_WIDENING * width
            self.pool = nn.Sequential(
                nn.Conv2d(width, wide, 1, bias=False),
                nn.GroupNorm(POOL_GROUPS, wide),
                nn.ReLU(),
                nn.Conv2d(wide, width, 1, bias=False),
            )

    def forward(self, features: Tensor) -> Tensor:
        if hasattr(self, "pool"):
            features = features + self.pool(features)
        return torch.relu(self.conv(features) + features)


class Squeeze(nn.Tanh):
    """Bound latents smoothly to (-3, 3)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input / CLAMP) * CLAMP


def _encoder(config: TinyAutoencoderConfig) -> nn.Sequential:
    width, last = config.width, len(config.encoder_blocks) - 1
    layers: list[nn.Module] = []
    for level, blocks in enumerate(config.encoder_blocks):
        first = nn.Conv2d(3, width, 3, padding=1)
        layers.append(nn.Conv2d(width, width, 3, padding=1, stride=2, bias=False) if level else first)
        layers += [Block(width, config.pooled and level == last) for _ in range(blocks)]
    return nn.Sequential(*layers, nn.Conv2d(width, config.latent_channels, 3, padding=1))


def _decoder(config: TinyAutoencoderConfig) -> nn.Sequential:
    width, last = config.width, len(config.decoder_blocks) - 1
    layers: list[nn.Module] = [Squeeze(), nn.Conv2d(config.latent_channels, width, 3, padding=1), nn.ReLU()]
    for level, blocks in enumerate(config.decoder_blocks):
        layers += [Block(width, config.pooled and level == 0) for _ in range(blocks)]
        if level < last:
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1))


class TinyAutoencoder(nn.Module):
    """An encoder from images to normalised latents and its decoder, with the authors' tensor names."""

    def __init__(self, config: TinyAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = _encoder(config), _decoder(config)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.3 times as fast on a CPU

    @property
    def downscale(self) -> int:
        """Pixels per latent along each side."""
        return 2 ** (len(self.config.encoder_blocks) - 1)

    def encode(self, images: Tensor) -> Tensor:
        """Return latents (N, C, H/8, W/8) of images (N, 3, H, W) in [-1, 1]."""
        return self.encoder(((images + 1) / 2).contiguous(memory_format=torch.channels_last))

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (N, 3, 8H, 8W), around [-1, 1], of latents (N, C, H, W)."""
        return self.decoder(latents.contiguous(memory_format=torch.channels_last)) * 2 - 1

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "TinyAutoencoder":
        """Load the weights of a folder or of a file, in the authors' layout or in diffusers'.

        Args:
            source: A `.safetensors` or `.pth` file with both halves; one of two files whose names differ in `encoder`
                and `decoder`; or a folder that holds either.

        Raises:
            UserError: A half is missing, or tensors are missing, too many or of other shapes.
        """
        path = Path(source)
        files = tiny_files(path)
        settings = read_config(path) if (path / CONFIG_NAME).is_file() else {}
        tensors: dict[str, Tensor] = {}
        for file in files:
            prefix = "" if len(files) == 1 else f"{_half(file)}."
            tensors.update({f"{prefix}{name}": value for name, value in read_weights(file).items()})
        tensors = authors_names(tensors, path)
        model = cls(_config(tensors, settings, path))
        load_exactly(model, tensors, path)
        return model.eval()


def holds_weights(folder: Path) -> bool:
    """Return whether a folder holds a `.safetensors` or `.pth` file."""
    return folder.is_dir() and any(path.suffix in SUFFIXES for path in folder.iterdir())


def tiny_files(source: Path) -> list[Path]:
    """Return the weight files of a tiny autoencoder: one with both halves, or the encoder's and the decoder's.

    Raises:
        UserError: The folder or file does not have them.
    """
    if source.is_dir():
        found = sorted(path for path in source.iterdir() if path.suffix in SUFFIXES)
        whole = [path for path in found if _half(path) is None]
        if whole:
            return whole[:1]
        found = [path for path in found if _half(path) == "decoder"] or found
        if not found:
            raise UserError(f"{source} has no .safetensors or .pth file: it is not a tiny autoencoder's folder")
        source = found[0]
    half = _half(source)
    if half is None:
        return [source]
    other = PARTS[1 - PARTS.index(half)]
    twin = source.with_name(other.join(source.name.rsplit(half, 1)))
    if not twin.is_file():
        raise UserError(f"{source} is the {half} alone: put its {other} beside it, as {twin.name}")
    return sorted((source, twin))


def _half(path: Path) -> str | None:
    """Return which half a file's name speaks of, `None` for both."""
    return next((part for part in PARTS if part in path.stem), None)


def authors_names(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors under the authors' names; diffusers calls the decoder's layers one number lower.

    Raises:
        UserError: The names belong to no tiny autoencoder.
    """
    renamed = {}
    for name, value in tensors.items():
        found = re.fullmatch(r"(?:taesd_)?(encoder|decoder)\.(layers\.)?(\d+)\.(.+)", name)
        if found is None:
            raise UserError(f"{path} holds {name!r}, which no tiny autoencoder has (such as TAESD, TAEF1 or TAEF2)")
        half, layers, number, rest = found.groups()
        shift = 1 if layers and half == "decoder" else 0  # diffusers squeezes latents outside the numbered layers
        renamed[f"{half}.{int(number) + shift}.{rest}"] = value
    return renamed


def _config(tensors: Mapping[str, Tensor], settings: Mapping[str, Any], path: Path) -> TinyAutoencoderConfig:
    """Return the sizes: from diffusers' settings where they are, else the published ones; widths off the tensors."""
    for name in ("encoder.0.weight", "decoder.1.weight"):
        if name not in tensors:
            raise UserError(f"{path} lacks {name}: it is not a whole tiny autoencoder")
    for name, value in FIXED.items():
        if settings.get(name, value) != value:
            raise UserError(f"{path / CONFIG_NAME} has {name}={settings[name]!r}, but only {value!r} is supported")
    blocks = {
        ours: tuple(settings[theirs])
        for ours, theirs in (("encoder_blocks", "num_encoder_blocks"), ("decoder_blocks", "num_decoder_blocks"))
        if theirs in settings
    }
    return TinyAutoencoderConfig(
        latent_channels=tensors["decoder.1.weight"].shape[1],
        width=len(tensors["encoder.0.weight"]),
        pooled=_any_pooled(tensors),
        **blocks,
    )


def _any_pooled(names: Iterable[str]) -> bool:
    return any(".pool." in name for name in names)

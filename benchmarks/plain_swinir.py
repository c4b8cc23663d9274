"""A plain SwinIR on latents, written as a textbook would: what `benchmarks.train_speed` compares our network with.

Windows are cut and joined around each block, attention is spelled out, and nothing is fused. Its tensors have the names
of `LatentUpscaler`, so that the same weights run in both.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lua_lightning.models.adapter import AdapterConfig
from lua_lightning.models.network import pad_to_window

MASK = -100.0


def exactly(like: Tensor) -> torch.autocast:
    """Return a context that leaves float32 as it is: under autocast too, latents are not rounded at the end."""
    return torch.autocast(like.device.type, enabled=False)


def cut(images: Tensor, window: int) -> Tensor:
    """Return windows (B * windows, window**2, C) of (B, H, W, C)."""
    batch, height, width, channels = images.shape
    grid = images.view(batch, height // window, window, width // window, window, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)


def join(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Return (B, height, width, C) of windows (B * windows, window**2, C)."""
    grid = windows.view(-1, height // window, width // window, window, window, windows.shape[-1])
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, windows.shape[-1])


def shift_mask(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Return what is added to the scores of a shifted grid: (windows, window**2, window**2)."""
    regions = torch.zeros(1, height, width, 1, device=device)
    slices = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((rows, columns) for rows in slices for columns in slices):
        regions[:, rows, columns, :] = number
    labels = cut(regions, window).squeeze(-1)
    return MASK * (labels[:, None, :] != labels[:, :, None]).float()


class PlainAttention(nn.Module):
    """Multi-head attention inside windows with a relative position bias."""

    relative_position_index: Tensor

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads, self.scale, self.tokens = num_heads, (dim // num_heads) ** -0.5, window**2
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        axis = torch.arange(window)
        places = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)
        offset = places[:, :, None] - places[:, None, :] + window - 1
        index = offset[0] * (2 * window - 1) + offset[1]
        self.register_buffer("relative_position_index", index, persistent=False)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Map (W, N, C) to the same shape; `mask` is (windows of one image, N, N)."""
        count, tokens, dim = windows.shape
        qkv = self.qkv(windows).reshape(count, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0] * self.scale, qkv[1], qkv[2]
        scores = query @ key.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        scores = scores + bias.view(tokens, tokens, -1).permute(2, 0, 1)
        if mask is not None:
            scores = scores.view(-1, len(mask), self.num_heads, tokens, tokens) + mask[:, None]
            scores = scores.view(-1, self.num_heads, tokens, tokens)
        attended = scores.softmax(-1).to(value.dtype) @ value
        return self.proj(attended.transpose(1, 2).reshape(count, tokens, dim))


class PlainMlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(tokens)))


class PlainBlock(nn.Module):
    """A Swin block on (B, H, W, C)."""

    def __init__(self, config: AdapterConfig, shift: int) -> None:
        super().__init__()
        dim = config.embed_dim
        self.window, self.shift = config.window_size, shift
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = PlainAttention(dim, config.num_heads, config.window_size)
        self.mlp = PlainMlp(dim, int(dim * config.mlp_ratio))

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        _, height, width, _ = images.shape
        moved = self.norm1(images)
        if self.shift:
            moved = torch.roll(moved, (-self.shift, -self.shift), (1, 2))
        windows = self.attn(cut(moved, self.window), mask if self.shift else None)
        moved = join(windows, self.window, height, width)
        if self.shift:
            moved = torch.roll(moved, (self.shift, self.shift), (1, 2))
        images = images + moved
        return images + self.mlp(self.norm2(images))


class PlainGroup(nn.Module):
    """Blocks without and with shift in turn, a convolution, and a skip."""

    def __init__(self, config: AdapterConfig, depth: int) -> None:
        super().__init__()
        shifts = [0 if index % 2 == 0 else config.window_size // 2 for index in range(depth)]
        self.residual_group = nn.ModuleDict({"blocks": nn.ModuleList(PlainBlock(config, shift) for shift in shifts)})
        self.conv = nn.Conv2d(config.embed_dim, config.embed_dim, 3, padding=1)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        images = features.permute(0, 2, 3, 1).contiguous()
        for block in self.residual_group["blocks"].children():
            images = block(images, mask)
        return self.conv(images.permute(0, 3, 1, 2).contiguous()) + features


class PlainHead(nn.Module):
    """Convolutions and pixel shuffles that enlarge by 2 a step."""

    def __init__(self, config: AdapterConfig, scale: int) -> None:
        super().__init__()
        width, channels = config.head_dim, config.channels
        self.conv_before = nn.Sequential(nn.Conv2d(config.embed_dim, width, 3, padding=1), nn.LeakyReLU(0.01))
        layers: list[nn.Module] = []
        for _ in range(int(math.log2(scale))):
            layers += [nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2)]
        self.upsample = nn.Sequential(*layers)
        self.conv_last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        features = self.upsample(self.conv_before(features))
        with exactly(features):
            return self.conv_last(features.float())


class PlainSwinIR(nn.Module):
    """Enlarge latents 2 or 4 times by a SwinIR with one head per scale.

    Args:
        config: Sizes; a `residual_bound`, a `liif` head is refused.
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        if config.head != "pixelshuffle" or config.residual_bound:
            raise ValueError("the plain SwinIR has pixel-shuffle heads without a bound on the residual")
        self.config, dim, channels = config, config.embed_dim, config.channels
        self.conv_first = nn.Conv2d(channels, dim, 3, padding=1)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(dim)})
        self.layers = nn.ModuleList(PlainGroup(config, depth) for depth in config.depths)
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)
        self.heads = nn.ModuleDict({f"x{scale}": PlainHead(config, scale) for scale in config.scales})
        if config.skip == "linear":
            self.skips = nn.ModuleDict({f"x{scale}": nn.ModuleDict({"conv": _linear(channels, scale)})
                                        for scale in config.scales})  # fmt: skip

    def forward(self, latents: Tensor, scale: int) -> Tensor:
        """Return latents (B, C, H, W) enlarged to (B, C, H * scale, W * scale)."""
        height, width = latents.shape[2:]
        window = self.config.window_size
        padded = pad_to_window(latents, window)
        first = self.conv_first(padded)
        mask = shift_mask(padded.shape[2], padded.shape[3], window, window // 2, latents.device)
        features = self._norm(self.patch_embed["norm"], first)
        for group in self.layers:
            features = group(features, mask)
        features = self.conv_after_body(self._norm(self.norm, features)) + first
        residual = self.heads[f"x{scale}"](features)[..., : height * scale, : width * scale].float()
        if self.config.skip == "none":
            return residual
        with exactly(latents):
            base = F.interpolate(latents, scale_factor=scale, mode="bicubic", align_corners=False)
            if self.config.skip == "linear":
                skip: Any = self.skips[f"x{scale}"]
                base = base + F.pixel_shuffle(skip["conv"](latents), scale)
            return base + residual

    @staticmethod
    def _norm(norm: nn.Module, features: Tensor) -> Tensor:
        return norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


def _linear(channels: int, scale: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels * scale**2, 3, padding=1, padding_mode="replicate")

"""SwinIR (arXiv 2108.10257): window attention, Swin groups, the trunk that the adapter shares, and the pixel model.

State-dict names equal those of the authors' published weights. Tokens are kept channels-last, (B, H, W, C), which is
the memory of an NCHW tensor in `channels_last` format: convolutions and token layers exchange views, never copies.
"""

import itertools
import math
import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lua_lightning.errors import UserError, unknown_name
from lua_lightning.models.pretrained import load_exactly, read_weights
from lua_lightning.models.windows import (
    WindowAttention,
    WindowGroup,
    pad_to_window,
    reorder,
    reordering,
    window_layout,
)

RGB_MEAN = (0.4488, 0.4371, 0.4040)
# Tokens that a block works on at a time on a CPU.
CHUNK = 4096


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class SwinBlock(nn.Module):
    """Window attention then an MLP, each behind a LayerNorm and a skip."""

    def __init__(self, dim: int, num_heads: int, window_size: int, shift: int, mlp_ratio: float) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window_size)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, windows: Tensor, groups: tuple[WindowGroup, ...]) -> Tensor:
        """Map `windows` (W, N, C), ordered as `groups`, to the same shape; on a CPU without gradients, in place."""
        plan = self.attn.plan(groups)
        if torch.is_grad_enabled() or windows.device.type != "cpu":
            windows = windows + self.attn(self.norm1(windows), plan)
            return windows + self.mlp(self.norm2(windows))
        # Nothing here looks beyond a window: a few at a time stay in the processor's cache and need little memory.
        step = max(1, CHUNK // windows.shape[1])
        for start, stop, bias in plan.biases:
            for first in range(start, stop, step):
                part = windows[first : min(first + step, stop)]
                part += self.attn(self.norm1(part), plan._replace(biases=[(0, len(part), bias)]))
                part += self.mlp(self.norm2(part))
        return windows


class SwinGroup(nn.Module):
    """Swin blocks without and with shift in turn, a convolution, and a skip (an RSTB)."""

    def __init__(
        self, dim: int, depth: int, num_heads: int, window_size: int, mlp_ratio: float, resi_connection: str
    ) -> None:
        super().__init__()
        self.window_size = window_size
        shifts = [0 if index % 2 == 0 else window_size // 2 for index in range(depth)]
        blocks = nn.ModuleList(SwinBlock(dim, num_heads, window_size, shift, mlp_ratio) for shift in shifts)
        self.residual_group = nn.ModuleDict({"blocks": blocks})
        self.conv = residual_conv(dim, resi_connection)

    def forward(self, features: Tensor, gradient_checkpointing: bool = False) -> Tensor:
        """Map features (B, C, H, W), sides multiples of the window, to the same shape."""
        batch, dim, height, width = features.shape
        size, device = self.window_size, features.device
        tokens = features.permute(0, 2, 3, 1).reshape(-1, dim)
        order = None
        for block in self.residual_group["blocks"].children():
            tokens = reorder(tokens, reordering(batch, height, width, size, order, block.shift, device))
            order = block.shift
            groups = window_layout(batch, height, width, size, order, device).groups
            windows = tokens.view(-1, size**2, dim)
            if gradient_checkpointing:
                windows = checkpoint(block, windows, groups, use_reentrant=False)
            else:
                windows = block(windows, groups)
            tokens = windows.view(-1, dim)
        tokens = reorder(tokens, reordering(batch, height, width, size, order, None, device))
        return self.conv(tokens.view(batch, height, width, dim).permute(0, 3, 1, 2)) + features


def residual_conv(dim: int, resi_connection: str) -> nn.Module:
    """Return the convolution that ends a group: one 3x3, or the three-layer bottleneck of SwinIR-large."""
    if resi_connection == "1conv":
        return nn.Conv2d(dim, dim, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(dim, dim // 4, 3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(dim // 4, dim // 4, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(dim // 4, dim, 3, padding=1),
    )


class SwinTrunk(nn.Module):
    """The part of SwinIR before the head: first convolution, residual Swin groups, and the long skip around them."""

    def __init__(
        self,
        channels: int,
        embed_dim: int,
        depths: tuple[int, ...],
        num_heads: tuple[int, ...],
        window_size: int,
        mlp_ratio: float,
        resi_connection: str = "1conv",
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.gradient_checkpointing = False
        self.conv_first = nn.Conv2d(channels, embed_dim, 3, padding=1)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(embed_dim)})
        self.layers = nn.ModuleList(
            SwinGroup(embed_dim, depth, heads, window_size, mlp_ratio, resi_connection)
            for depth, heads in zip(depths, num_heads, strict=True)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.conv_after_body = residual_conv(embed_dim, resi_connection)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def extract(self, images: Tensor) -> Tensor:
        """Return features (B, embed_dim, H, W) of `images` (B, channels, H, W), both sides multiples of the window."""
        first = self.conv_first(images.contiguous(memory_format=torch.channels_last))
        features = self._norm(self.patch_embed["norm"], first)
        checkpointing = self.gradient_checkpointing and self.training
        for group in self.layers:
            features = group(features, checkpointing)
        return self.conv_after_body(self._norm(self.norm, features)) + first

    @staticmethod
    def _norm(norm: nn.Module, features: Tensor) -> Tensor:
        return norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def upsample_layers(width: int, scale: int, out: int | None = None) -> nn.Sequential:
    """Return convolutions and pixel shuffles that enlarge `scale` times: by 2 (or 3) a step, or at once to `out`."""
    if out is not None:
        return nn.Sequential(nn.Conv2d(width, out * scale**2, 3, padding=1), nn.PixelShuffle(scale))
    factor = 3 if scale == 3 else 2
    layers: list[nn.Module] = []
    for _ in range(round(math.log(scale, factor))):
        layers += [nn.Conv2d(width, width * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)


class SwinIR(SwinTrunk):
    """The pixel model: images in [0, 1], (B, in_chans, H, W) to (B, in_chans, H*upscale, W*upscale), any H and W.

    Args:
        upscale: 1 with upsampler "none"; otherwise 2, 3, 4 or 8.
        upsampler: "pixelshuffle" (classical, head width 64), "pixelshuffledirect" (light) or "none" (denoising; adds
            its input back).
        resi_connection: Convolution that ends each group, "1conv" or "3conv".
        img_range: Factor between [0, 1] and what the network sees; 255 for the published JPEG weights.
    """

    mean: Tensor

    def __init__(
        self,
        upscale: int = 2,
        in_chans: int = 3,
        embed_dim: int = 60,
        depths: tuple[int, ...] = (6, 6, 6, 6),
        num_heads: tuple[int, ...] = (6, 6, 6, 6),
        window_size: int = 8,
        mlp_ratio: float = 2.0,
        upsampler: str = "pixelshuffledirect",
        resi_connection: str = "1conv",
        img_range: float = 1.0,
    ) -> None:
        super().__init__(in_chans, embed_dim, depths, num_heads, window_size, mlp_ratio, resi_connection)
        self.upscale, self.upsampler, self.img_range = upscale, upsampler, img_range
        mean = RGB_MEAN if in_chans == 3 else (0.0,) * in_chans
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        if upsampler == "pixelshuffle":
            self.conv_before_upsample = nn.Sequential(nn.Conv2d(embed_dim, 64, 3, padding=1), nn.LeakyReLU(0.01))
            self.upsample = upsample_layers(64, upscale)
            self.conv_last = nn.Conv2d(64, in_chans, 3, padding=1)
        elif upsampler == "pixelshuffledirect":
            self.upsample = upsample_layers(embed_dim, upscale, out=in_chans)
        elif upsampler == "none":
            self.conv_last = nn.Conv2d(embed_dim, in_chans, 3, padding=1)
        else:
            raise unknown_name("upsampler", upsampler, ("pixelshuffle", "pixelshuffledirect", "none"))

    def forward(self, images: Tensor) -> Tensor:
        """Restore `images` (B, in_chans, H, W) in [0, 1]."""
        height, width = images.shape[2:]
        mean = self.mean.to(images.dtype)
        inputs = (pad_to_window(images, self.window_size) - mean) * self.img_range
        features = self.extract(inputs)
        if self.upsampler == "pixelshuffle":
            restored = self.conv_last(self.upsample(self.conv_before_upsample(features)))
        elif self.upsampler == "pixelshuffledirect":
            restored = self.upsample(features)
        else:
            restored = inputs + self.conv_last(features)
        return (restored / self.img_range + mean)[:, :, : height * self.upscale, : width * self.upscale]

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "SwinIR":
        """Load an official weights file (`.pth` or `.safetensors`); its configuration is read off the tensors' shapes.

        Raises:
            UserError: The file cannot be read, is not a SwinIR, or has tensors too many or too few.
        """
        path = Path(path)
        tensors = read_weights(path)
        trunk = trunk_sizes(tensors, path)
        if "conv_up1.weight" in tensors:
            raise UserError(f"{path} is a SwinIR with the nearest+conv upsampler, which is not supported")
        channels = trunk["channels"]
        if "conv_before_upsample.0.weight" in tensors:
            upsampler = "pixelshuffle"
            factors = [len(tensors[name]) // 64 for name in tensors if re.fullmatch(r"upsample\.\d+\.bias", name)]
            upscale = round(math.sqrt(math.prod(factors)))
        elif "upsample.0.weight" in tensors:
            upsampler = "pixelshuffledirect"
            upscale = round(math.sqrt(len(tensors["upsample.0.weight"]) / channels))
        else:
            upsampler, upscale = "none", 1
        trunk["in_chans"] = trunk.pop("channels")
        # Only the JPEG weights have windows of 7, and only they were trained on [0, 255].
        img_range = 255.0 if trunk["window_size"] == 7 else 1.0
        model = cls(upscale, upsampler=upsampler, img_range=img_range, **trunk)
        load_exactly(model, tensors, path)
        return model.eval()


def trunk_sizes(tensors: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """Return the arguments of the `SwinTrunk` whose weights these are, read off names and shapes.

    Raises:
        UserError: The tensors are not those of a SwinIR trunk.
    """
    block = "layers.{}.residual_group.blocks.{}."
    table = block + "attn.relative_position_bias_table"
    depths, num_heads = [], []
    while table.format(len(depths), 0) in tensors:
        group = len(depths)
        depths.append(next(j for j in itertools.count() if table.format(group, j) not in tensors))
        num_heads.append(tensors[table.format(group, 0)].shape[1])
    needed = ("conv_first.weight", (block + "mlp.fc1.weight").format(0, 0))
    if not depths or any(name not in tensors for name in needed):
        raise UserError(f"{path} does not hold SwinIR weights: it lacks {needed[0]} or the first block's tensors")
    embed_dim, channels = tensors["conv_first.weight"].shape[:2]
    return {
        "channels": channels,
        "embed_dim": embed_dim,
        "depths": tuple(depths),
        "num_heads": tuple(num_heads),
        "window_size": (math.isqrt(len(tensors[table.format(0, 0)])) + 1) // 2,
        "mlp_ratio": tensors[needed[1]].shape[0] / embed_dim,
        "resi_connection": "1conv" if "conv_after_body.weight" in tensors else "3conv",
    }

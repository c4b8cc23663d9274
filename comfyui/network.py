"""The network of a latent upscaler (LUA, arXiv 2511.10629): this file and `windows.py` need nothing but PyTorch.

Training, inference and every export run them: a SwinIR trunk (arXiv 2108.10257), one pixel-shuffle head per scale, and
what their output is added to. State-dict names equal those of the published weights of both papers. Tokens are kept
channels-last, (B, H, W, C), which is the memory of an NCHW tensor in `channels_last` format: convolutions and token
layers exchange views, never copies.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .windows import WindowAttention, Windows

CHUNK = 4096  # tokens that a block works on at a time on a CPU
# Of the linear skip. 5 starts better, by 0.006 of recovery, but the trunk then learns less: worse after 1,200 steps.
KERNEL = 3


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

    def forward(self, windows: Tensor, layout: Windows) -> Tensor:
        """Map `windows` (W, N, C), ordered as the block's cut, to the same shape; in place where `layout.in_parts`."""
        cut, weights, bias = layout.cut(self.shift), self.attn.weights(), self.attn.bias(layout.relative)
        if not layout.in_parts:
            windows = windows + self.attn(self.norm1(windows), weights, bias, cut.codes)
            return windows + self.mlp(self.norm2(windows))
        # Nothing here looks beyond a window: a few at a time stay in the processor's cache and need little memory.
        step = max(1, CHUNK // windows.shape[1])
        for start, stop, mask in cut.groups:
            masked = bias if mask is None else bias + mask.to(bias.dtype)
            for first in range(start, stop, step):
                part = windows[first : min(first + step, stop)]
                part += self.attn(self.norm1(part), weights, masked)
                part += self.mlp(self.norm2(part))
        return windows


class SwinGroup(nn.Module):
    """Swin blocks without and with shift in turn, a convolution, and a skip (an RSTB)."""

    def __init__(
        self, dim: int, depth: int, num_heads: int, window_size: int, mlp_ratio: float, resi_connection: str
    ) -> None:
        super().__init__()
        shifts = [0 if index % 2 == 0 else window_size // 2 for index in range(depth)]
        blocks = nn.ModuleList(SwinBlock(dim, num_heads, window_size, shift, mlp_ratio) for shift in shifts)
        self.residual_group = nn.ModuleDict({"blocks": blocks})
        self.conv = residual_conv(dim, resi_connection)

    def forward(self, features: Tensor, layout: Windows, gradient_checkpointing: bool = False) -> Tensor:
        """Map features (B, C, H, W), sides multiples of the window, to the same shape."""
        batch, dim, height, width = features.shape
        tokens = features.permute(0, 2, 3, 1).reshape(-1, dim)
        order: int | None = None
        for block in self.residual_group["blocks"].children():
            tokens, order = layout.reorder(tokens, order, block.shift), block.shift  # pyright: ignore
            windows = tokens.view(-1, layout.window**2, dim)
            if gradient_checkpointing:
                windows = checkpoint(block, windows, layout, use_reentrant=False)
            else:
                windows = block(windows, layout)
            tokens = windows.view(-1, dim)
        tokens = layout.reorder(tokens, order, None)
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
        depths: Sequence[int],
        num_heads: Sequence[int],
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
        batch, _, height, width = images.shape
        rows, cols = height // self.window_size, width // self.window_size
        at_once = torch.is_grad_enabled() or images.device.type != "cpu" or torch.compiler.is_compiling()
        layout = Windows(batch, rows, cols, self.window_size, images.device, in_parts=not at_once)
        features = self._norm(self.patch_embed["norm"], first)
        checkpointing = self.gradient_checkpointing and self.training
        for group in self.layers:
            features = group(features, layout, checkpointing)
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


class ScaleHead(nn.Module):
    """Enlarge trunk features (B, embed_dim, H, W) to latents (B, channels, H*scale, W*scale)."""

    def __init__(self, embed_dim: int, head_dim: int, channels: int, scale: int) -> None:
        super().__init__()
        self.conv_before = nn.Sequential(nn.Conv2d(embed_dim, head_dim, 3, padding=1), nn.LeakyReLU(0.01))
        self.upsample = upsample_layers(head_dim, scale)
        self.conv_last = nn.Conv2d(head_dim, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return in_own_dtype(self.conv_last, self.upsample(self.conv_before(features)))


def in_own_dtype(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """Return `layer(inputs)` in the dtype of its weights, also under autocast: latents are not rounded at the end."""
    inputs = inputs.to(layer.weight.dtype)
    if torch.compiler.is_exporting():
        return layer(inputs)
    with torch.autocast(inputs.device.type, enabled=False):
        return layer(inputs)


def enlarged_size(latents: Tensor, scale: float) -> tuple[int, int]:
    """Return the height and width of `latents` (B, C, H, W) after enlargement, rounded."""
    height, width = latents.shape[2:]
    if isinstance(scale, int):
        return height * scale, width * scale
    return round(height * scale), round(width * scale)


def enlarge(latents: Tensor, scale: float) -> Tensor:
    """Return `latents` (B, C, H, W) enlarged bicubically to (B, C, H*scale, W*scale)."""
    return F.interpolate(latents, size=enlarged_size(latents, scale), mode="bicubic", align_corners=False)


class LinearSkip(nn.Module):
    """Bicubic enlargement plus a linear map of each position's 3x3 neighbourhood, which starts at zero."""

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.conv = nn.Conv2d(channels, channels * scale**2, KERNEL, padding=KERNEL // 2, padding_mode="replicate")
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # pyright: ignore

    def forward(self, latents: Tensor) -> Tensor:
        padded = F.pad(latents, (KERNEL // 2,) * 4, mode="replicate")
        weight, bias = (values.to(latents.dtype) for values in (self.conv.weight, self.conv.bias))  # pyright: ignore
        return enlarge(latents, self.scale) + F.pixel_shuffle(F.conv2d(padded, weight, bias), self.scale)


class UpscalerNetwork(SwinTrunk):
    """Enlarge latents 2 or 4 times in one pass; `AdapterConfig` explains the arguments."""

    def __init__(
        self,
        channels: int,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: int,
        window_size: int,
        mlp_ratio: float,
        head_dim: int,
        scales: Sequence[int],
        skip: str,
        latent_range: Sequence[Sequence[float]] | None = None,
        residual_bound: float = 0.0,
    ) -> None:
        super().__init__(channels, embed_dim, depths, (num_heads,) * len(depths), window_size, mlp_ratio)
        self.channels, self.scales, self.skip = channels, tuple(scales), skip
        self.latent_range, self.residual_bound = latent_range, residual_bound
        self.heads = nn.ModuleDict(self.make_heads(embed_dim, head_dim, channels))
        if skip == "linear":
            self.skips = nn.ModuleDict({f"x{scale}": LinearSkip(channels, scale) for scale in scales})
        if skip != "none":
            for head in self.heads.children():
                nn.init.zeros_(head.conv_last.weight)  # pyright: ignore
                nn.init.zeros_(head.conv_last.bias)  # pyright: ignore

    def make_heads(self, embed_dim: int, head_dim: int, channels: int) -> dict[str, nn.Module]:
        """Return the heads by name."""
        return {f"x{scale}": ScaleHead(embed_dim, head_dim, channels, scale) for scale in self.scales}

    def check(self, latents: Tensor, scale: float) -> None:
        """Refuse what this network has no weights for.

        Raises:
            ValueError: The latents have another number of channels, or there is no head for `scale`.
        """
        if latents.shape[1] != self.channels:
            raise ValueError(
                f"the latents have {latents.shape[1]} channels, but this adapter was made for {self.channels}"
            )
        if scale not in self.scales:
            raise ValueError(f"this adapter has no head for scale {scale}; its scales are {list(self.scales)}")

    def forward(self, latents: Tensor, scale: float) -> Tensor:
        """Return `latents` (B, channels, H, W), any H and W, enlarged to (B, channels, H*scale, W*scale), same dtype.

        The trunk and the head compute in the dtype of the weights, or autocast's; the last convolution always in that
        of the weights. What its output is added to is computed in float32.
        """
        self.check(latents, scale)
        features = self.extract(pad_to_window(latents.to(self.dtype), self.window_size))
        residual = self.bounded(self.residual(features, latents, scale).float())
        return (residual if self.skip == "none" else self.base(latents.float(), scale) + residual).to(latents.dtype)

    def residual(self, features: Tensor, latents: Tensor, scale: float) -> Tensor:
        """Return what the head of `scale` makes of the padded features, cut to the enlarged size of `latents`."""
        return crop(self.heads[f"x{scale}"](features), *enlarged_size(latents, scale))

    def base(self, latents: Tensor, scale: float) -> Tensor:
        """Return what the residual is added to, (B, channels, H*scale, W*scale), in the dtype of `latents`."""
        if torch.compiler.is_exporting():
            return self.skips[f"x{scale}"](latents) if self.skip == "linear" else enlarge(latents, scale)
        with torch.autocast(latents.device.type, enabled=False):
            return self.skips[f"x{scale}"](latents) if self.skip == "linear" else enlarge(latents, scale)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.conv_first.weight.dtype

    def bounded(self, residual: Tensor) -> Tensor:
        """Return the residual limited smoothly to `residual_bound`; without a skip, around the middle of the range."""
        if not self.residual_bound:
            return residual
        low, high = self.range_of(residual)
        limit = self.residual_bound * (high - low) / 2
        middle = (low + high) / 2 if self.skip == "none" else torch.zeros_like(low)
        return middle + limit * torch.tanh((residual - middle) / limit)

    def range_of(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return each channel's lowest and highest training value, (1, channels, 1, 1) each."""
        low, high = like.new_tensor(self.latent_range).view(1, -1, 1, 1, 2).unbind(-1)
        return low, high


def pad_to_window(images: Tensor, window: int) -> Tensor:
    """Extend (B, C, H, W) at the bottom and right to multiples of `window` by reflection, however small the sides."""
    for axis in (2, 3):
        size = images.shape[axis]
        if not torch.compiler.is_exporting() and size % window == 0:
            continue
        # Counted in whole windows, and without branches on the size, so that an exported graph takes any.
        index = torch.arange((size + window - 1) // window * window, device=images.device)
        last = torch.full_like(index, size - 1)
        beyond = torch.remainder(index, (2 * last).clamp(min=1))
        images = images.index_select(axis, torch.minimum(beyond, 2 * last - beyond))
    return images


def crop(images: Tensor, height: int, width: int) -> Tensor:
    """Return the top left of (B, C, H, W); an exported graph cannot slice to a size that it does not know."""
    if not torch.compiler.is_exporting():
        return images[:, :, :height, :width]
    rows, cols = (torch.arange(size, device=images.device) for size in (height, width))
    return images.index_select(2, rows).index_select(3, cols)

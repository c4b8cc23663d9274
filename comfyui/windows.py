"""Window attention: how tokens are regrouped into windows, kept apart, biased and attended. Needs PyTorch alone."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASKED = -100.0  # added to the scores of tokens that a shifted window keeps apart; the value that published weights saw
APART = 1000.0  # of a query and a key of different regions: at least -MASKED after scaling, for heads of up to 100


class WindowGroup(NamedTuple):
    """Consecutive windows that share one attention mask (N, N), or have none."""

    start: int
    stop: int
    mask: Tensor | None


class Cut(NamedTuple):
    """One way to cut grids into windows, rolled up and left by a shift before.

    Only the last row and column of a shifted grid mix tokens from opposite borders. They are kept apart either by
    `groups`, for which windows are ordered by the mask they need, or by `codes`: further channels (W, N, 1, extra) of
    queries and keys, whose products are exactly 0 inside a region and large and negative between two.
    """

    gather: Tensor  # (B*H*W) row-major position of each token in window order
    place: Tensor  # its inverse
    groups: tuple[WindowGroup, ...]
    codes: tuple[Tensor, Tensor] | None


class Windows:
    """How the tokens of one forward pass are regrouped into windows; made anew for each, so that nothing is cached.

    Args:
        batch: Grids.
        rows: Windows from top to bottom; pixels would give `torch.export` divisions that it cannot reason about.
        cols: Windows from left to right.
        window: Their side.
        device: Of the tokens.
        in_parts: Whether blocks take a few windows at a time, in groups by mask, instead of all at once.
    """

    def __init__(self, batch: int, rows: int, cols: int, window: int, device: torch.device, in_parts: bool) -> None:
        self.batch, self.rows, self.cols, self.window = batch, rows, cols, window
        self.device, self.in_parts = device, in_parts
        self.cuts: dict[int, Cut] = {}
        line = torch.arange(window, device=device)
        offset = line[:, None] - line[None, :] + window - 1
        # For each pair of tokens of a window, the row of the bias table that holds their offset.
        self.relative = (offset[:, None, :, None] * (2 * window - 1) + offset[None, :, None, :]).reshape(-1)

    def cut(self, shift: int) -> Cut:
        """Return the cut for a shift, made when it is first asked for."""
        if shift not in self.cuts:
            self.cuts[shift] = self._cut(shift)
        return self.cuts[shift]

    def _cut(self, shift: int) -> Cut:
        height, width = self.rows * self.window, self.cols * self.window
        tokens = torch.arange(self.batch * height * width, device=self.device).view(self.batch, height, width)
        windows = self._partition(tokens.roll((-shift, -shift), (1, 2)) if shift else tokens)
        groups = [WindowGroup(0, self.batch * self.rows * self.cols, None)]
        if shift and self.in_parts:
            parts, groups = self._by_mask(windows, shift)
            gather = torch.cat(parts)
        else:
            gather = windows.reshape(-1)
        place = torch.empty_like(gather).scatter(0, gather, torch.arange(gather.shape[0], device=self.device))
        codes = self._codes(shift) if shift and not self.in_parts else None
        return Cut(gather, place, tuple(groups), codes)

    def _partition(self, grids: Tensor) -> Tensor:
        """Return (B, rows, cols, window, window) of (B, H, W)."""
        return grids.reshape(-1, self.rows, self.window, self.cols, self.window).permute(0, 1, 3, 2, 4)

    def _by_mask(self, windows: Tensor, shift: int) -> tuple[list[Tensor], list[WindowGroup]]:
        wrapped = torch.arange(self.window, device=self.device) >= self.window - shift
        parts, groups, start = [], [], 0
        for bottom, rows in ((False, slice(None, -1)), (True, slice(-1, None))):
            for right, cols in ((False, slice(None, -1)), (True, slice(-1, None))):
                part = windows[:, rows, cols].reshape(-1)
                count = len(part) // self.window**2
                if not count:
                    continue
                side = (2 * bottom * wrapped[:, None] + right * wrapped[None, :]).flatten()
                mask = MASKED * (side[:, None] != side[None, :]) if bottom or right else None
                parts.append(part)
                groups.append(WindowGroup(start, start + count, mask))
                start += count
        return parts, groups

    def _codes(self, shift: int) -> tuple[Tensor, Tensor]:
        down, across = (
            torch.arange(windows * self.window, device=self.device) >= windows * self.window - shift
            for windows in (self.rows, self.cols)
        )
        region = self._partition((2 * down[:, None] + across[None, :])[None])
        extra = torch.arange(4 if self.device.type == "cpu" else 8, device=self.device)
        mine = (region[..., None] == extra).float().expand(self.batch, -1, -1, -1, -1, -1)
        mine = mine.reshape(-1, self.window**2, 1, len(extra))
        return (mine - 1) * APART, mine

    def reorder(self, tokens: Tensor, before: int | None, after: int | None) -> Tensor:
        """Return tokens (B*H*W, C) taken from one shift's window order to another's; None is row-major."""
        order = self._order(before, after)
        if torch.is_grad_enabled() and not torch.compiler.is_exporting():
            return _Reorder.apply(tokens, order, self._order(after, before))
        return tokens.index_select(0, order)

    def _order(self, before: int | None, after: int | None) -> Tensor:
        if before is None or after is None:
            return self.cut(after).gather if after is not None else self.cut(before or 0).place
        return self.cut(before).place.index_select(0, self.cut(after).gather)


class _Reorder(torch.autograd.Function):
    """Permute the rows of (L, C); the gradient is the inverse permutation, a copy instead of a scatter-add."""

    @staticmethod
    def forward(ctx, tokens: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return tokens.index_select(0, order)

    @staticmethod
    def backward(ctx, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        (inverse,) = ctx.saved_tensors
        return grad.index_select(0, inverse), None, None


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a learned bias per head and relative position."""

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.window_size = num_heads, dim // num_heads, window_size
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window_size - 1) ** 2, num_heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def bias(self, relative: Tensor) -> Tensor:
        """Return the bias of each head and token pair, (heads, N, N)."""
        bias = self.relative_position_bias_table.index_select(0, relative)
        return bias.t().reshape(self.num_heads, self.window_size**2, self.window_size**2)

    def weights(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return weight and bias of both linear layers, each head widened by zeros to what kernels are fast at."""
        heads, head_dim, dim = self.num_heads, self.head_dim, self.proj.in_features
        extra = -head_dim % (4 if self.qkv.weight.device.type == "cpu" else 8)
        if not extra:
            return (self.qkv.weight, self.qkv.bias), (self.proj.weight, self.proj.bias)
        weight = F.pad(self.qkv.weight.view(3, heads, head_dim, dim), (0, 0, 0, extra)).view(-1, dim)
        qkv = weight, F.pad(self.qkv.bias.view(3, heads, head_dim), (0, extra)).flatten()
        return qkv, (F.pad(self.proj.weight.view(dim, heads, head_dim), (0, extra)).view(dim, -1), self.proj.bias)

    def forward(
        self,
        windows: Tensor,
        weights: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]],
        bias: Tensor,
        codes: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Attend inside each of `windows` (W, N, C), in one call."""
        qkv, proj = weights
        query, key, value = F.linear(windows, *qkv).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        if codes is not None:
            query, key = (
                torch.cat((part, code.to(part.dtype).expand(-1, -1, self.num_heads, -1)), -1)
                for part, code in zip((query, key), codes, strict=True)
            )
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        return F.linear(attend(query, key, value, bias, self.head_dim**-0.5).transpose(1, 2).flatten(2), *proj)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Return softmax(scale q k^T + bias) v for (W, heads, N, d) each and `bias` (heads, N, N)."""
    training_on_cpu = bias.requires_grad and torch.is_grad_enabled() and bias.device.type == "cpu"
    if training_on_cpu or torch.compiler.is_exporting():
        # The fused CPU kernel gives the bias no gradient; its fallback is slower than the same thing spelled out.
        return ((query * scale) @ key.transpose(-2, -1) + bias).softmax(-1).to(value.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None].to(query.dtype), scale=scale)

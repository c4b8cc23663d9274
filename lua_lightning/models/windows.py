"""Window attention: how tokens are regrouped into windows, masked, biased and attended."""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Added to the scores of token pairs that a shifted window must keep apart; the value that published weights saw.
MASKED = -100.0


class WindowGroup(NamedTuple):
    """Consecutive windows, in the order of a `WindowLayout`, that share one attention mask."""

    start: int
    stop: int
    mask: Tensor | None


class WindowLayout(NamedTuple):
    """Where the tokens of a batch of (H, W) grids stand when they are regrouped into windows.

    `gather` (B*H*W) lists the row-major position of each token in window order. Only the last row and column of a
    shifted grid mix tokens from opposite borders, so windows are ordered by the mask they need: at most four `groups`,
    each with one small mask (N, N), instead of one mask per window.
    """

    gather: Tensor
    groups: tuple[WindowGroup, ...]


@lru_cache(maxsize=16)
def window_layout(batch: int, height: int, width: int, window: int, shift: int, device: torch.device) -> WindowLayout:
    """Return the layout of grids whose sides are multiples of `window`, rolled up and left by `shift` tokens."""
    with torch.inference_mode(False):
        grid = torch.arange(batch * height * width).view(batch, height, width).roll((-shift, -shift), (1, 2))
        grid = grid.view(batch, height // window, window, width // window, window).permute(1, 3, 0, 2, 4)
        kinds = [(grid, None)]
        if shift:
            kinds = [
                (grid[:-1, :-1], None),
                (grid[:-1, -1:], border_mask(window, shift, False, True)),
                (grid[-1:, :-1], border_mask(window, shift, True, False)),
                (grid[-1:, -1:], border_mask(window, shift, True, True)),
            ]
        order, groups, start = [], [], 0
        for windows, mask in kinds:
            count = math.prod(windows.shape[:3])
            if count:
                order.append(windows.flatten())
                groups.append(WindowGroup(start, start + count, None if mask is None else mask.to(device)))
                start += count
        return WindowLayout(torch.cat(order).to(device), tuple(groups))


def border_mask(window: int, shift: int, bottom: bool, right: bool) -> Tensor:
    """Return the mask (N, N) of a shifted window on the bottom and/or right border of the grid."""
    wrapped = torch.arange(window) >= window - shift
    side = (2 * bottom * wrapped[:, None] + right * wrapped[None, :]).flatten()
    return MASKED * (side[:, None] != side[None, :])


@lru_cache(maxsize=32)
def reordering(
    batch: int, height: int, width: int, window: int, before: int | None, after: int | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the permutation of tokens from one shift's window order to another's, and its inverse; None: row-major."""
    with torch.inference_mode(False):
        rows = torch.arange(batch * height * width, device=device)
        old, new = (
            rows if shift is None else window_layout(batch, height, width, window, shift, device).gather
            for shift in (before, after)
        )
        return old.argsort()[new].int(), new.argsort()[old].int()


class _Reorder(torch.autograd.Function):
    """Permute the rows of (L, C); the gradient is the inverse permutation, a copy instead of a scatter-add."""

    @staticmethod
    def forward(ctx, tokens: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        return tokens.index_select(0, order)

    @staticmethod
    def backward(ctx, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        order, inverse = ctx.saved_tensors
        return _Reorder.apply(grad, inverse, order), None, None


@lru_cache(maxsize=16)
def relative_position_index(window: int, device: torch.device) -> Tensor:
    """Return, for each pair of tokens (N*N) of a window, the row of the bias table that holds their offset."""
    with torch.inference_mode(False):
        line = torch.arange(window)
        offset = line[:, None] - line[None, :] + window - 1
        index = offset[:, None, :, None] * (2 * window - 1) + offset[None, :, None, :]
        return index.reshape(-1).to(device)


class AttentionPlan(NamedTuple):
    """What `WindowAttention` needs beside the windows; made once for any number of calls."""

    qkv: tuple[Tensor, Tensor]
    proj: tuple[Tensor, Tensor]
    head_dim: int
    biases: list[tuple[int, int, Tensor]]


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a learned bias per head and relative position."""

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.window_size = num_heads, dim // num_heads, window_size
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window_size - 1) ** 2, num_heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def bias(self) -> Tensor:
        """Return the bias of each head and token pair, (heads, N, N)."""
        tokens = self.window_size**2
        index = relative_position_index(self.window_size, self.relative_position_bias_table.device)
        bias = self.relative_position_bias_table.index_select(0, index)
        return bias.t().reshape(self.num_heads, tokens, tokens)

    def plan(self, groups: tuple[WindowGroup, ...]) -> AttentionPlan:
        """Return the biases of `groups` and the weights, each head widened by zeros to what kernels are fast at."""
        bias = self.bias()
        biases = [(start, stop, bias if mask is None else bias + mask.to(bias.dtype)) for start, stop, mask in groups]
        heads, head_dim, dim = self.num_heads, self.head_dim, self.proj.in_features
        extra = -head_dim % (4 if bias.device.type == "cpu" else 8)
        qkv, proj = (self.qkv.weight, self.qkv.bias), (self.proj.weight, self.proj.bias)
        if extra:
            weight = F.pad(self.qkv.weight.view(3, heads, head_dim, dim), (0, 0, 0, extra)).view(-1, dim)
            qkv = weight, F.pad(self.qkv.bias.view(3, heads, head_dim), (0, extra)).flatten()
            proj = F.pad(self.proj.weight.view(dim, heads, head_dim), (0, extra)).view(dim, -1), self.proj.bias
        return AttentionPlan(qkv, proj, head_dim + extra, biases)

    def forward(self, windows: Tensor, plan: AttentionPlan) -> Tensor:
        """Attend inside each of `windows` (W, N, C)."""
        count, tokens, _ = windows.shape
        qkv = F.linear(windows, *plan.qkv).view(count, tokens, 3, self.num_heads, plan.head_dim)
        scale = self.head_dim**-0.5
        out = [
            attend(qkv[start:stop].permute(2, 0, 3, 1, 4), bias, scale).transpose(1, 2).flatten(2)
            for start, stop, bias in plan.biases
        ]
        return F.linear(out[0] if len(out) == 1 else torch.cat(out), *plan.proj)


def attend(qkv: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Return softmax(scale q k^T + bias) v for `qkv` (3, W, heads, N, d) and `bias` (heads, N, N)."""
    query, key, value = qkv.unbind(0)
    if bias.requires_grad and torch.is_grad_enabled() and bias.device.type == "cpu":
        # The fused CPU kernel gives the bias no gradient; its fallback is slower than the same thing spelled out.
        return ((query * scale) @ key.transpose(-2, -1) + bias).softmax(-1).to(value.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None].to(query.dtype), scale=scale)


def reorder(tokens: Tensor, orders: tuple[Tensor, Tensor]) -> Tensor:
    if torch.is_grad_enabled():
        return _Reorder.apply(tokens, *orders)
    return tokens.index_select(0, orders[0])


def pad_to_window(images: Tensor, window: int) -> Tensor:
    """Extend (B, C, H, W) at the bottom and right to multiples of `window` by reflection, however small the sides."""
    for axis in (2, 3):
        size = images.shape[axis]
        if size % window == 0:
            continue
        period = max(2 * (size - 1), 1)
        index = torch.arange(size + -size % window, device=images.device) % period
        images = images.index_select(axis, torch.minimum(index, period - index) if size > 1 else index)
    return images

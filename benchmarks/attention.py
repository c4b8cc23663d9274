"""Ways to compute window attention with a relative-position bias: their time, and how far each is from exact.

Command: python -m benchmarks.attention
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

from baselines.measure import Spread
from benchmarks.parts import made_on, seconds_of
from benchmarks.phases import write_results
from lua_lightning.commands.command import Command, listing, run_command
from lua_lightning.environment import best_device, use_tensor_cores
from lua_lightning.errors import UserError, first_line, unknown_name
from lua_lightning.evaluation.tables import markdown_table, plain_table
from lua_lightning.models.adapter import SIZES, LatentUpscaler
from lua_lightning.models.windows import Windows, attend

SOURCE = "lua-tiny-d16"  # whose trained bias tables are used
TOLERANCE = 1e-3  # of the largest difference to exact float32
RANKS = (8, 16, 32, 64)
TOKENS = {"cpu": 64 * 64, "cuda": 256 * 256}  # in all windows together

Way = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
Parts = tuple[Tensor, Tensor, Tensor]  # queries, keys and values


def trained_bias(window: int, heads: int, device: str) -> Tensor:
    """Return a trained bias (heads, N, N), N the square of the window's side.

    The tables of all blocks of the embedded adapter serve in turn as heads. For another window they are enlarged by
    bicubic interpolation, as Swin transfers weights.
    """
    tables = [table.detach() for name, table in LatentUpscaler.from_pretrained(SOURCE).named_parameters()
              if name.endswith("relative_position_bias_table")]  # fmt: skip
    table = torch.cat(tables, 1)[:, torch.arange(heads) % sum(each.shape[1] for each in tables)]
    side, wanted = int(table.shape[0] ** 0.5), 2 * window - 1
    grid = table.t().reshape(1, heads, side, side)
    if side != wanted:
        grid = F.interpolate(grid, size=(wanted, wanted), mode="bicubic", align_corners=True)
    relative = Windows(1, 1, 1, window, torch.device("cpu"), in_parts=False).relative
    return grid.reshape(heads, -1)[:, relative].view(heads, window**2, window**2).to(device)


def factors(bias: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return (heads, N, rank) twice, whose products are the best approximation of `bias` of that rank (FlashBias).

    Formula: truncated singular value decomposition, as arXiv 2505.12044 proposes for learned biases.
    """
    left, values, right = torch.linalg.svd(bias.double())
    root = values[:, :rank].sqrt()
    return (left[..., :rank] * root[:, None]).float(), (right[:, :rank].transpose(1, 2) * root[:, None]).float()


def explicit(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Return attention spelled out, in the inputs' type; the scores are added up in the wider one of both."""
    return ((query * scale) @ key.transpose(-2, -1) + bias).softmax(-1).to(value.dtype) @ value


def sdpa(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Return attention by PyTorch's fused function with the bias as its mask."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None].to(query.dtype), scale=scale)


def low_rank(left: Tensor, right: Tensor) -> Way:
    """Return attention whose bias is folded into further channels of queries and keys; values are padded to match."""

    def way(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
        windows, dim = query.shape[0], value.shape[-1]
        ours, theirs = (part.to(query.dtype).expand(windows, -1, -1, -1) for part in (left / scale, right))
        wide = F.pad(value, (0, left.shape[-1]))  # the fused kernels want equal widths
        mixed = F.scaled_dot_product_attention(
            torch.cat((query, ours), -1), torch.cat((key, theirs), -1), wide, scale=scale
        )
        return mixed[..., :dim]

    return way


def flex() -> Way:
    """Return FlexAttention, compiled, with the bias looked up by its score function."""
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, dynamic=False)

    def way(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
        def biased(score: Tensor, batch: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
            return score + bias[head, row, column]

        return compiled(query, key, value, score_mod=biased, scale=scale)  # type: ignore[return-value]

    return way


def ways(bias: Tensor, with_flex: bool) -> dict[str, Way]:
    """Return every way by name; today's is `ours`."""
    known: dict[str, Way] = {"ours": attend, "explicit": explicit, "sdpa": sdpa}
    for rank in RANKS:
        if rank < bias.shape[-1]:
            known[f"low rank {rank}"] = low_rank(*factors(bias, rank))
    if with_flex:
        known["flex"] = flex()
    return known


@dataclass(frozen=True)
class Row:
    """A way at one size.

    Attributes:
        forward: Seconds without gradients.
        training: Seconds of forward and backward, gradients of the bias included where the way gives them.
        difference: Largest to exact float32 attention, over the largest value of that.
        unavailable: Why there are no numbers, or none of training.
    """

    size: str
    window: int
    head_dim: int
    dtype: str
    way: str
    forward: Spread | None = None
    training: Spread | None = None
    difference: float | None = None
    unavailable: str | None = None


def inputs(size: str, tokens: int, device: str) -> tuple[Parts, Tensor, float]:
    """Return queries, keys and values (W, heads, N, d) of an adapter's size, a bias, and the scale of scores."""
    settings = SIZES[size]
    window, heads = settings["window_size"], settings["num_heads"]
    dim = settings["embed_dim"] // heads
    count = max(1, tokens // window**2)
    torch.manual_seed(0)
    query, key, value = torch.randn(3, count, heads, window**2, dim, device=device).unbind()
    return (query, key, value), trained_bias(window, heads, device), dim**-0.5


@dataclass
class Case:
    """A way that was tried once, and what its further runs take."""

    runs: dict[str, Callable[[], object]] = field(default_factory=dict)
    """`forward` and `training`, as far as they run."""
    taken: dict[str, list[float]] = field(default_factory=lambda: {"forward": [], "training": []})
    difference: float | None = None
    reason: str | None = None

    def spread(self, run: str) -> Spread | None:
        """Return the seconds of a kind of run; None where there are none."""
        return Spread.of(self.taken[run]) if self.taken[run] else None


def tried(way: Way, parts: Parts, bias: Tensor, scale: float, exact: Tensor) -> Case:
    """Return the case of a way: what runs, and how far its result is from the exact one."""
    case = Case()
    forward, training = partial(_forward, way, parts, bias, scale), partial(_train, way, parts, bias, scale)
    try:
        case.difference = float((forward().float() - exact).abs().max() / exact.abs().max())
        case.runs["forward"] = forward
        training()
        case.runs["training"] = training
    except Exception as error:  # a compiler that is missing, or no gradients here; the other ways go on
        case.reason = f"{type(error).__name__}: {first_line(error)}"
    return case


def measure(size: str, tokens: int, repeats: int, device: str, with_flex: bool) -> list[Row]:
    """Return the rows of a size in bfloat16 and float32; all ways are taken in turns."""
    parts, bias, scale = inputs(size, tokens, device)
    exact, rows = explicit(*parts, bias, scale), []
    for dtype in (torch.bfloat16, torch.float32):
        given = parts[0].to(dtype), parts[1].to(dtype), parts[2].to(dtype)
        facts = (size, int(bias.shape[-1] ** 0.5), parts[0].shape[-1], str(dtype).removeprefix("torch."))
        cases = {name: tried(way, given, bias, scale, exact) for name, way in ways(bias, with_flex).items()}
        for _ in range(repeats):
            for case in cases.values():
                for run, function in case.runs.items():
                    case.taken[run].append(seconds_of(function, device))
        for name, case in cases.items():
            spreads = case.spread("forward"), case.spread("training")
            rows.append(Row(*facts, name, *spreads, case.difference, case.reason))
    return rows


@torch.no_grad()
def _forward(way: Way, parts: Parts, bias: Tensor, scale: float) -> Tensor:
    return way(*parts, bias, scale)


def _train(way: Way, parts: Parts, bias: Tensor, scale: float) -> None:
    query, key, value, learned = (part.detach().requires_grad_() for part in (*parts, bias))
    way(query, key, value, learned, scale).float().sum().backward()


def cells(row: Row) -> list[str]:
    """Return a row's numbers as text."""
    taken = [f"{1000 * spread.median:.2f}" if spread else "-" for spread in (row.forward, row.training)]
    return [*taken, "-" if row.difference is None else f"{row.difference:.1e}"]


HEADS = ("forward, ms", "training, ms", "difference")


def label(row: Row) -> str:
    """Return size, window, head width, type and way of a row."""
    return f"{row.size}, {row.window}x{row.window}, {row.head_dim}, {row.dtype}, {row.way}"


def markdown(results: Mapping[str, Any]) -> str:
    """Return the table as Markdown."""
    rows = [_row(each) for each in results["rows"]]
    lines = [markdown_table(["size, window, head, type, way", *HEADS], [[label(row), *cells(row)] for row in rows])]
    missing = [f"- {label(row)}: {row.unavailable}" for row in rows if row.unavailable]
    return "\n".join([*lines, *(["", *missing] if missing else [])])


def _row(values: Mapping[str, Any]) -> Row:
    spreads = {name: Spread(**values[name]) for name in ("forward", "training") if values[name]}
    return Row(**{**values, **spreads})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks.attention`."""
    parser.add_argument("--sizes", nargs="+", default=["tiny", "light", "paper"], help="of the adapter")
    parser.add_argument("--tokens", type=int, help="in all windows (default: 4096, on a GPU 65536)")
    parser.add_argument("--repeats", type=int, default=9, help="counted runs")
    parser.add_argument("--flex", action="store_true", help="measure FlexAttention too, which compiles for minutes")
    parser.add_argument("--out", type=Path, default=Path("runs/attention.json"), help="file of the results")


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, and write and print the JSON."""
    for size in options.sizes:
        if size not in SIZES:
            raise unknown_name("adapter size", size, SIZES)
    if options.repeats < 1:
        raise UserError(f"--repeats {options.repeats} is below 1")
    device = best_device()
    use_tensor_cores(device)
    tokens = options.tokens or TOKENS["cuda" if device == "cuda" else "cpu"]
    rows = [row for size in options.sizes for row in measure(size, tokens, options.repeats, device, options.flex)]
    table = plain_table(f"window attention on {tokens} tokens", "size, window, head, type, way", HEADS)
    for row in rows:
        table.add_row(label(row), *cells(row))
    console = Console(stderr=True)
    console.print(table)
    for row in rows:
        if row.unavailable:
            console.print(f"{label(row)}: {row.unavailable}", highlight=False)
    write_results({**made_on(), "tokens": tokens, "rows": [asdict(row) for row in rows]}, options.out)


COMMAND = Command(
    "attention",
    "Measure ways to compute window attention, and how far each is from exact.",
    "python -m benchmarks.attention --sizes tiny --repeats 3",
    add_arguments,
    run,
    lambda: listing("choices", {"sizes": [*SIZES]}),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.attention` and return the exit status."""
    return run_command(COMMAND, "python -m benchmarks.attention", arguments)


if __name__ == "__main__":
    sys.exit(main())

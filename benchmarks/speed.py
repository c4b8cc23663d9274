"""Seconds and memory of every method on the true graph with random weights: neither needs training.

Command: make bench-speed
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from baselines.contract import World
from baselines.measure import Spread
from baselines.registry import METHODS
from benchmarks.graphs import DOWNSCALE, GRAPHS, build
from benchmarks.phases import check_methods, measure_all, print_card, rows_of, write_results
from lua_lightning.commands.command import Command, listing, run_command
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.evaluation.tables import plain_table
from lua_lightning.models.adapter import LatentUpscaler

# Seconds per image on SDXL and an H100 with automatic mixed precision (arXiv 2511.10629, table 1).
PUBLISHED = {
    "hidiffusion": {1024: 1.54, 2048: 4.97, 4096: 122.62},
    "demofusion": {1024: 2.04, 2048: 28.99, 4096: 225.77},
    "lsrna-demofusion": {1024: 3.09, 2048: 20.77, 4096: 91.64},
    "direct": {1024: 1.61, 2048: 7.23, 4096: 148.71},
    "swinir": {1024: 2.47, 2048: 6.29, 4096: 7.29},
    "lua": {1024: 1.42, 2048: 3.52, 4096: 6.87},
}


def adapter_variants(adapter: LatentUpscaler, device: str) -> Iterator[tuple[str, Callable, torch.dtype]]:
    """Yield the name, callable and input type of the adapter in float32 and bfloat16, eager and compiled."""
    for dtype in (torch.float32, torch.bfloat16):
        model = adapter.to(device, dtype)
        yield f"{str(dtype).removeprefix('torch.')} eager", model, dtype
        yield f"{str(dtype).removeprefix('torch.')} compiled", torch.compile(model), dtype


@torch.inference_mode()
def time_adapter(
    adapter: LatentUpscaler, ladder: dict[int, int], device: str, repeats: int, warmups: int
) -> list[dict[str, Any]]:
    """Return the seconds of the adapter alone, from base latents to enlarged ones, at each size and in each variant."""
    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # pure layouts by shape
    rows = []
    for variant, forward, dtype in adapter_variants(adapter, device):
        for size, base in ladder.items():
            side = base // DOWNSCALE
            latents = torch.randn(1, adapter.config.channels, side, side, device=device, dtype=dtype)
            row: dict[str, Any] = {"size": size, "variant": variant}
            try:
                seconds = [_seconds(forward, latents, size // base) for _ in range(warmups + repeats)][warmups:]
                row["seconds"] = asdict(Spread.of(seconds))
            except Exception as error:  # a compiler that is missing or gives up; the other variants go on
                row["unavailable"] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            rows.append(row)
            print(f"{size} px: adapter {variant} done", file=sys.stderr)
    return rows


def _seconds(forward: Callable, latents: torch.Tensor, scale: int) -> float:
    started = time.perf_counter()
    forward(latents, scale)
    if latents.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def print_adapter(rows: list[dict[str, Any]]) -> None:
    """Print the seconds of the adapter alone, a line for each size."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    table = plain_table("the adapter alone, median seconds", "size", variants)
    for size in dict.fromkeys(row["size"] for row in rows):
        by_variant = {row["variant"]: row for row in rows if row["size"] == size}
        cells = [
            f"{by_variant[name]['seconds']['median']:.4f}" if "seconds" in by_variant[name] else "-"
            for name in variants
        ]
        table.add_row(f"{size}", *cells)
    console = Console(stderr=True)
    console.print(table)
    for row in rows:
        if "unavailable" in row:
            console.print(f"{row['variant']} at {row['size']} px: {row['unavailable']}")


def print_published() -> None:
    """Print the paper's seconds as a table of their own."""
    sizes = list(GRAPHS["sdxl"].ladder)
    table = plain_table("published, H100: not measured here", "method", [f"{size} px" for size in sizes])
    for name, seconds in PUBLISHED.items():
        table.add_row(name, *(f"{seconds[size]:.2f}" for size in sizes))
    Console(stderr=True).print(table)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks.speed`."""
    parser.add_argument("--graph", help="listed below (default: sdxl on a GPU, sdxl-small without one)")
    parser.add_argument("--sizes", type=int, nargs="+", help="sides in pixels (default: the whole ladder of the graph)")
    parser.add_argument("--methods", nargs="+", default=[*METHODS], metavar="METHOD", help="methods to measure")
    parser.add_argument(
        "--steps", type=int, help="denoising steps of every diffusion pass (default: as published on a GPU, 10 without)"
    )
    parser.add_argument("--repeats", type=int, help="counted runs (default: 20 on a GPU, 3 without)")
    parser.add_argument("--warmups", type=int, help="runs before them (default: 20 on a GPU, 1 without)")
    parser.add_argument("--out", type=Path, default=Path("runs/speed"), help="folder of the networks and of speed.json")


def details() -> str:
    """Return what can be chosen."""
    graphs = {f"sizes of {name}": [str(size) for size in graph.ladder] for name, graph in GRAPHS.items()}
    return listing("choices", {"graphs": [*GRAPHS], **graphs, "methods": [*METHODS]})


def with_defaults(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options with what depends on the machine filled in.

    Raises:
        UserError: A graph, size or method is unknown.
    """
    cuda = torch.cuda.is_available()
    defaults = {
        "graph": "sdxl" if cuda else "sdxl-small",
        "steps": None if cuda else 10,
        "repeats": 20 if cuda else 3,
        "warmups": 20 if cuda else 1,
    }
    given = {name: value for name, value in vars(options).items() if value is not None}
    chosen = argparse.Namespace(**{**defaults, "sizes": None, **given})
    if chosen.graph not in GRAPHS:
        raise unknown_name("graph", chosen.graph, GRAPHS)
    check_methods(chosen.methods)
    ladder = GRAPHS[chosen.graph].ladder
    chosen.sizes = chosen.sizes or list(ladder)
    if unknown := set(chosen.sizes) - set(ladder):
        raise UserError(f"{chosen.graph} is measured at {list(ladder)} px, not at {sorted(unknown)}")
    return chosen


def run(options: argparse.Namespace) -> None:
    """Build what is missing, measure, print both cards, and write and print the JSON."""
    options = with_defaults(options)
    graph, folder = GRAPHS[options.graph], options.out / options.graph
    ladder = {size: graph.ladder[size] for size in options.sizes}
    build(options.graph, graph, folder)
    world = World(str(folder / "generator"), str(folder / "adapter"), steps=options.steps)
    lsr = [f"weights={folder / 'lsr'}"]
    settings = {"lsr": lsr, "lsrna-demofusion": lsr, "swinir": [f"weights={folder / 'swinir'}"]}
    results = measure_all(world, options.methods, ladder, options.repeats, options.warmups, settings)
    adapter = LatentUpscaler.from_pretrained(folder / "adapter")
    alone = time_adapter(adapter, ladder, world.device, options.repeats, options.warmups)
    print_card(results)
    print_adapter(alone)
    if options.graph == "sdxl":
        print_published()
    content = {
        "graph": options.graph,
        "steps": options.steps or "as published",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "rows": rows_of(results),
        "adapter": alone,
    }
    write_results(content, folder / "speed.json")


COMMAND = Command(
    "speed",
    "Measure seconds and memory of every method on SDXL's graph with random weights.",
    "python -m benchmarks.speed --graph sdxl-small --sizes 256 --methods lua swinir",
    add_arguments,
    run,
    details,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.speed` and return the exit status."""
    return run_command(COMMAND, "python -m benchmarks.speed", arguments)


if __name__ == "__main__":
    sys.exit(main())

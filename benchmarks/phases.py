"""Seconds per phase and peak memory of every method at several sizes, one run on one machine.

Command: make bench-phases
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console

from baselines.clock import PHASES
from baselines.contract import World
from baselines.measure import Measured, measure_apart
from baselines.registry import METHODS, method_class
from lua_lightning.commands.choices import generators
from lua_lightning.commands.command import Command, listing, run_command
from lua_lightning.errors import UserError
from lua_lightning.evaluation.registry import METRICS, label_of
from lua_lightning.evaluation.rows import LUA
from lua_lightning.evaluation.tables import plain_table
from lua_lightning.files import write_json
from lua_lightning.generators.catalogue import find_generator

PROMPT, SEED = "a mountain lake at sunset", 42


def measure_all(
    world: World,
    names: list[str],
    ladder: Mapping[int, int],
    repeats: int,
    warmups: int,
    settings: Mapping[str, list[str]] = MappingProxyType({}),
) -> dict[int, dict[str, Measured | str]]:
    """Return what each method takes at each size, or the sentence that says why it does not run.

    Args:
        world: Its generator and adapter.
        names: Of the methods.
        ladder: Side in pixels that each side is enlarged from.
        repeats: Counted runs of a method without a diffusion pass of its own; the others run once.
        warmups: Runs before them.
        settings: `key=value` texts of methods.
    """
    results: dict[int, dict[str, Measured | str]] = {}
    for size, base in ladder.items():
        start = world.start(PROMPT, SEED, base)
        results[size] = {}
        for name in names:
            kind = method_class(name)
            slow = kind.needs_prompt  # a diffusion pass of its own: once, after no warm-up
            counts = (1, 0) if slow else (repeats, warmups)
            try:
                results[size][name] = measure_apart(name, world, start, size, settings.get(name, []), *counts)
            except UserError as error:
                results[size][name] = str(error)
            print(f"{size} px: {name} done", file=sys.stderr)
    return results


def print_card(results: dict[int, dict[str, Measured | str]]) -> None:
    """Print one table per size on stderr."""
    console = Console(stderr=True)
    for size, rows in results.items():
        table = plain_table(f"{size} px, median seconds", "method", [*PHASES, "total", label_of("peak_memory_mib")])
        for name, row in rows.items():
            if isinstance(row, str):
                table.add_row(name, *["-"] * len(PHASES), "-", "-")
                continue
            seconds, memory = METRICS["seconds"], METRICS["peak_memory_mib"]
            cells = [seconds.text(row.seconds[phase].median) if phase in row.seconds else "" for phase in PHASES]
            total = sum(spread.median for spread in row.seconds.values())
            table.add_row(name, *cells, seconds.text(total), memory.text(max(row.peak_mib.values())))
        console.print(table)
        for name, row in rows.items():
            if isinstance(row, str):
                console.print(f"{name} is unavailable: {row}")
            elif isinstance(ratio := faster(rows, name), float):
                console.print(f"upscaling and decoding by {LUA} is {ratio:.1f} times as fast as by {name}")


def faster(rows: dict[str, Measured | str], name: str) -> float | None:
    """Return how many times longer `name` takes than `lua` from base latents to image; None for other methods."""
    lua, other = rows.get(LUA), rows[name]
    if name not in ("swinir", "dat-light") or not isinstance(lua, Measured) or not isinstance(other, Measured):
        return None
    seconds = [sum(row.seconds[phase].median for phase in ("upscale", "decode")) for row in (other, lua)]
    return seconds[0] / seconds[1]


def rows_of(results: dict[int, dict[str, Measured | str]]) -> list[dict[str, Any]]:
    """Return the measurements as plain data."""
    return [
        {"method": name, "size": size, "unavailable": row}
        if isinstance(row, str)
        else {
            "method": name,
            "size": size,
            "seconds": {phase: asdict(spread) for phase, spread in row.seconds.items()},
            "shared": row.outcome.shared,
            "peak_memory_mib": row.peak_mib,
            "times_lua": faster(rows, name),
        }
        for size, rows in results.items()
        for name, row in rows.items()
    ]


def check_methods(names: Sequence[str]) -> None:
    """Refuse unknown methods before anything is measured.

    Raises:
        UserError: A method is unknown; the near match is named.
    """
    for name in names:
        method_class(name)


def write_results(content: Mapping[str, Any], path: Path) -> None:
    """Write what was measured as JSON, and print it as one line that names the file under `results`."""
    write_json(path, content)
    print(json.dumps({**content, "results": str(path)}))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks.phases`."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048], help="sides in pixels")
    parser.add_argument("--methods", nargs="+", default=[*METHODS], metavar="METHOD", help="methods to measure")
    parser.add_argument("--generator", default="tiny-sdxl", help="name, folder or hub id")
    parser.add_argument("--steps", type=int, default=5, help="denoising steps of every diffusion pass")
    parser.add_argument("--repeats", type=int, default=5, help="counted runs of methods without a diffusion pass")
    parser.add_argument("--warmups", type=int, default=2, help="runs before them")
    parser.add_argument("--out", type=Path, default=Path("runs/phases.json"), help="file of the results")


def details() -> str:
    """Return what can be chosen."""
    return listing("choices", {"methods": [*METHODS], **generators()})


def run(options: argparse.Namespace) -> None:
    """Measure, print the card, and write and print the JSON."""
    check_methods(options.methods)
    facts = find_generator(options.generator)
    ladder = {size: facts.base_size(size) for size in options.sizes}
    world = World(options.generator, steps=options.steps)
    results = measure_all(world, options.methods, ladder, options.repeats, options.warmups)
    print_card(results)
    content = {"generator": options.generator, "steps": options.steps, "device": world.device}
    write_results({**content, "rows": rows_of(results)}, options.out)


COMMAND = Command(
    "phases",
    "Measure seconds per phase and peak memory of every method at several sizes.",
    "python -m benchmarks.phases --sizes 512 --methods lua pixel-bicubic",
    add_arguments,
    run,
    details,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.phases` and return the exit status."""
    return run_command(COMMAND, "python -m benchmarks.phases", arguments)


if __name__ == "__main__":
    sys.exit(main())

"""A guard against getting slower: today's ratios of ours to a reference against those that the repository stores.

Command: make bench-guard   (ARGS=--update stores today's)
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.parts import times_as_fast
from benchmarks.plain_swinir import PlainSwinIR
from benchmarks.train_speed import LOADS, STAGES, measure_all
from lua_lightning.commands.command import Command, run_command
from lua_lightning.documents import read_json
from lua_lightning.environment import best_device, run_info
from lua_lightning.errors import UserError
from lua_lightning.evaluation.tables import plain_table
from lua_lightning.files import write_json
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.codec import CACHED, LatentCodec

STORED = Path(__file__).with_name("guard.json")
LIMIT = 0.15  # of a stored ratio that may be lost
SMALL, LARGE = 512, 2048  # px of the pictures whose decoding is compared

Ratios = dict[str, float]


def training(repeats: int) -> Ratios:
    """Return how many times as fast our training steps of size tiny are as a plain loop's."""
    loads = LOADS["cuda" if best_device() == "cuda" else "cpu"]
    rows, _ = measure_all(("tiny",), STAGES, repeats, (), loads)
    return {f"training/{row.size}/{row.stage}": row.ratio.median for row in rows}


@torch.inference_mode()
def adapter(repeats: int) -> Ratios:
    """Return how many times as fast our adapter is as a plain SwinIR of the same weights, from 512 to 1024 px."""
    device, found = best_device(), {}
    for size in ("tiny", "light"):
        ours = LatentUpscaler(AdapterConfig.sized(size)).eval().to(device)
        plain = PlainSwinIR(ours.config).eval().to(device)
        plain.load_state_dict(ours.state_dict())
        latents = torch.randn(1, 16, 64, 64, device=device)
        spread = times_as_fast(partial(ours, latents, 2), partial(plain, latents, 2), device, repeats)
        found[f"adapter/{size}/x2"] = spread.median
    return found


@torch.inference_mode()
def decoding(repeats: int) -> Ratios:
    """Return the time per pixel of decoding 512 px whole over that of 2048 px in exact tiles: 1 is linear time."""
    device = best_device()
    codec = LatentCodec.from_pretrained("tiny-d16").to(device)
    small, large = (torch.randn(1, 16, px // 8, px // 8, device=device) for px in (SMALL, LARGE))
    ours, whole = partial(codec.decode, large, tile=CACHED), partial(codec.decode, small, tile=SMALL // 8)
    return {"decoding/tiny-d16/2048": times_as_fast(ours, whole, device, repeats).median * (LARGE / SMALL) ** 2}


MEASURED: tuple[Callable[[int], Ratios], ...] = (training, adapter, decoding)


def regressions(stored: Mapping[str, float], today: Mapping[str, float], limit: float = LIMIT) -> list[str]:
    """Return a sentence for each stored ratio that is not measured any more, or that has fallen by more than `limit`.

    A ratio says how many times as fast ours is as its reference in the same run.
    """
    said = []
    for name, before in stored.items():
        if name not in today:
            said.append(f"{name} was {before:.2f} and is not measured any more: store today's ratios with --update")
        elif today[name] < (1 - limit) * before:
            lost = 1 - today[name] / before
            said.append(f"{name} fell from {before:.2f} to {today[name]:.2f}, by {lost:.0%}: {limit:.0%} are allowed")
    return said


def machine() -> str:
    """Return what ratios depend on: the device, and on a CPU the number of threads."""
    info = run_info()
    return info["device"] if best_device() == "cuda" else f"{info['device']}, {info['threads']} threads"


def print_card(stored: Mapping[str, float], today: Mapping[str, float]) -> None:
    """Print every ratio as it was and as it is, on stderr."""
    table = plain_table("times as fast as the reference", "ratio", ["stored", "today"])
    for name in dict.fromkeys([*stored, *today]):
        table.add_row(name, *(f"{known[name]:.2f}" if name in known else "-" for known in (stored, today)))
    Console(stderr=True).print(table)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks.guard`."""
    parser.add_argument("--update", action="store_true", help="store today's ratios instead of comparing them")
    parser.add_argument("--repeats", type=int, default=7, help="counted turns, whose median counts")
    parser.add_argument("--stored", type=Path, default=STORED, help="file of the stored ratios")


def run(options: argparse.Namespace) -> int:
    """Measure and compare, or store; the status is 1 where a ratio fell too far."""
    if options.repeats < 1:
        raise UserError(f"--repeats {options.repeats} is below 1")
    known = read_json(options.stored) if options.stored.is_file() else {}
    here = machine()
    stored = known.get(here, {}).get("ratios")
    if stored is None and not options.update:
        raise UserError(f"{options.stored} holds no ratios of this machine ({here}): store them first with --update")
    today: Ratios = {}
    for measure in MEASURED:
        today |= measure(options.repeats)
    print_card(stored or {}, today)
    said = [] if options.update else regressions(stored or {}, today)
    if options.update:
        info = run_info()
        entry = {"commit": info["commit"], "versions": info["versions"], "ratios": today}
        write_json(options.stored, {**known, here: entry})
    for sentence in said:
        print(f"benchmarks.guard: {sentence}", file=sys.stderr)
    print(json.dumps({"machine": here, "ratios": today, "regressions": said}))
    return 1 if said else 0


COMMAND = Command(
    "guard",
    "Compare today's ratios of ours to a reference with the stored ones, and fail past 15 percent.",
    "python -m benchmarks.guard --repeats 9",
    add_arguments,
    run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.guard` and return the exit status."""
    return run_command(COMMAND, "python -m benchmarks.guard", arguments)


if __name__ == "__main__":
    sys.exit(main())

"""What an adapter gains and loses from faithful to crisp: fidelity against perceptual distance.

Command: make bench-sharpness ADAPTER=my-adapter
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.zoo_check import PERCEPTUAL, PSNR, config_of
from lua_lightning.commands.choices import SPLITS, adapters
from lua_lightning.commands.command import Command, listing, run_command
from lua_lightning.errors import UserError
from lua_lightning.evaluation.held_out import measure
from lua_lightning.evaluation.intervals import Estimate, intervals
from lua_lightning.evaluation.registry import label_of
from lua_lightning.evaluation.tables import plain_table
from lua_lightning.files import replacing, write_json
from lua_lightning.models.sharpness import check_sharpness

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
Curve = dict[float, dict[str, Estimate]]


def curve(adapter: str, photos: str, split: str, steps: Sequence[float]) -> Curve:
    """Return the estimates of an adapter's metrics at each sharpness.

    Raises:
        UserError: A sharpness is outside [0, 1], or the adapter has one set of weights.
    """
    config = config_of(adapter, photos)
    for step in steps:
        check_sharpness(step)
    return {step: intervals(measure(adapter, config, split, step)) for step in steps}  # type: ignore[arg-type]


def axes(estimates: Mapping[str, Estimate]) -> dict[str, tuple[str, str]]:
    """Return by scale the names of the two metrics: fidelity, and perceptual distance."""
    scales = sorted({name.partition("/")[0] for name in estimates})
    return {scale: (f"{scale}/{PSNR.keys[0]}", f"{scale}/{PERCEPTUAL}") for scale in scales}


def print_curve(found: Curve, title: str) -> None:
    """Print the table on stderr."""
    pairs = axes(next(iter(found.values())))
    table = plain_table(title, "sharpness", [label_of(name) for pair in pairs.values() for name in pair])
    for step, estimates in found.items():
        cells = [f"{estimates[name].value:.2f}" for pair in pairs.values() for name in pair if name in estimates]
        table.add_row(f"{step:g}", *cells)
    Console(stderr=True).print(table)


def plot(found: Curve, title: str, path: Path) -> None:
    """Draw one line for each scale: perceptual distance over PSNR, a dot for each sharpness."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axis = figure.subplots()
    for scale, (fidelity, distance) in axes(next(iter(found.values()))).items():
        points = [(estimates[fidelity].value, estimates[distance].value) for estimates in found.values()]
        axis.plot(*zip(*points, strict=True), marker="o", label=scale)
        for step, point in zip(found, points, strict=True):
            axis.annotate(f"{step:g}", point, textcoords="offset points", xytext=(5, 5), fontsize=8)
    axis.set(xlabel=f"{PSNR.label} (dB), higher is more faithful", ylabel="perceptual distance, lower is crisper")
    axis.set_title(title, fontsize=10)
    axis.legend()
    with replacing(path) as partial:
        figure.savefig(partial, format="svg", metadata={"Date": None})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks.sharpness`."""
    parser.add_argument("adapter", help="name, folder or hub id of an adapter with crisp weights")
    parser.add_argument("--photos", default="data/photos", help="folder of the photo set")
    parser.add_argument("--split", choices=SPLITS, default="test", help="photographs to measure on")
    parser.add_argument("--at", type=float, nargs="+", default=STEPS, help="sharpnesses to measure")
    parser.add_argument(
        "--out", type=Path, default=Path("results/sharpness"), help="folder of the plot and the numbers"
    )


def run(options: argparse.Namespace) -> None:
    """Measure; print a table and one JSON line; write `sharpness.json` and `sharpness.svg`."""
    found = curve(options.adapter, options.photos, options.split, options.at)
    if not all(name in found[options.at[0]] for pair in axes(found[options.at[0]]).values() for name in pair):
        raise UserError(f"{PERCEPTUAL} is unavailable here: `lua-lightning doctor` says what is missing")
    title = f"{Path(options.adapter).name} on {options.split} photographs"
    print_curve(found, title)
    plot(found, title, options.out / "sharpness.svg")
    content = {
        "adapter": options.adapter,
        "split": options.split,
        "curve": [
            {"sharpness": step, **{name: estimates[name].entry() for pair in axes(estimates).values() for name in pair}}
            for step, estimates in found.items()
        ],
    }
    write_json(options.out / "sharpness.json", content)
    print(json.dumps(content))


def details() -> str:
    """Return what can be chosen."""
    return listing("choices", adapters())


COMMAND = Command(
    "sharpness",
    "Measure fidelity and perceptual distance from faithful to crisp.",
    "python -m benchmarks.sharpness my-adapter --split val --at 0 0.5 1",
    add_arguments,
    run,
    details,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.sharpness` and return the exit status."""
    return run_command(COMMAND, "python -m benchmarks.sharpness", arguments)


if __name__ == "__main__":
    sys.exit(main())

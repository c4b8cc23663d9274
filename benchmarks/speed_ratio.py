"""How fast the adapter is beside an earlier version of its code: the same weights, in turns, on this machine.

Command: python -m benchmarks.speed_ratio COMMIT --adapters tiny light --latents 64 128 256
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import lua_lightning
from lua_lightning.commands.command import Command, run_command
from lua_lightning.environment import best_device
from lua_lightning.errors import UserError
from lua_lightning.evaluation.tables import plain_table
from lua_lightning.files import write_tensors
from lua_lightning.models.adapter import SIZES, AdapterConfig, LatentUpscaler

ROOT = Path(lua_lightning.__file__).parents[1]
# One version of the code, which answers each line "side scale" by the seconds of one pass; it knows no newer module.
CHILD = """
import sys, time, torch
from safetensors.torch import load_file, save_file
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler

size, weights, device, answers = sys.argv[1:]
adapter = LatentUpscaler(AdapterConfig.sized(size, channels=16)).eval()
missing, unexpected = adapter.load_state_dict(load_file(weights), strict=False)
assert not {*missing, *unexpected} & {name for name, _ in adapter.named_parameters()}, (missing, unexpected)
adapter.to(device)
for line in sys.stdin:
    side, scale = map(int, line.split())
    latents = torch.randn(1, 16, side, side, generator=torch.Generator().manual_seed(side)).to(device)
    with torch.inference_mode():
        started = time.perf_counter()
        enlarged = adapter(latents, scale)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    save_file({"enlarged": enlarged.float().cpu().contiguous()}, answers)
    print(seconds, flush=True)
"""


def source_of(commit: str, folder: Path) -> None:
    """Write the library as it was at a commit into a folder.

    Raises:
        UserError: There is no such commit, or this is no clone.
    """
    done = subprocess.run(["git", "-C", str(ROOT), "archive", commit, "lua_lightning"], capture_output=True)
    if done.returncode:
        raise UserError(f"the code at {commit} cannot be had: {' '.join(done.stderr.decode().split())}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        tar.extractall(folder, filter="data")


class Version:
    """A process that runs one version of the code."""

    def __init__(self, source: Path, size: str, weights: Path, device: str, answers: Path) -> None:
        command = [sys.executable, "-c", CHILD, size, str(weights), device, str(answers)]
        self.answers = answers
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=source,  # where `-c` looks for modules first
        )

    def seconds(self, side: int, scale: int) -> float:
        """Return what one pass takes.

        Raises:
            UserError: The process ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(side, scale, file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise UserError("one version of the code ended, for what stands above: it cannot be compared")
        return float(line)

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()  # pyright: ignore[reportOptionalMemberAccess]
        self.process.wait()


def compare(size: str, commit: str, sides: Sequence[int], scale: int, repeats: int, device: str) -> list[dict]:
    """Return a row per side: seconds before and now, their ratio, and how far the results lie apart."""
    from safetensors.torch import load_file

    torch.manual_seed(0)
    adapter = LatentUpscaler(AdapterConfig.sized(size, channels=16))
    for head in adapter.heads.children():
        torch.nn.init.normal_(head.conv_last.weight, std=0.02)  # pyright: ignore
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source_of(commit, folder / "before")
        write_tensors(folder / "weights", {name: weight.detach() for name, weight in adapter.named_parameters()})
        before = Version(folder / "before", size, folder / "weights", device, folder / "one")
        now = Version(ROOT, size, folder / "weights", device, folder / "two")
        try:
            rows = []
            for side in sides:
                taken: dict[Version, list[float]] = {before: [], now: []}
                for turn in range(-2, repeats):  # the first two warm up; who begins changes each time
                    for version in (before, now) if turn % 2 else (now, before):
                        seconds = version.seconds(side, scale)
                        taken[version] += [seconds] if turn >= 0 else []
                ratios = [new / old for old, new in zip(taken[before], taken[now], strict=True)]
                results = [load_file(version.answers)["enlarged"] for version in (before, now)]
                rows.append(
                    {
                        "adapter": size,
                        "latents": side,
                        "before": statistics.median(taken[before]),
                        "now": statistics.median(taken[now]),
                        "ratio": statistics.median(ratios),
                        "low": min(ratios),
                        "high": max(ratios),
                        "difference": float((results[0] - results[1]).abs().max()),
                    }
                )
        finally:
            before.close()
            now.close()
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks.speed_ratio`."""
    parser.add_argument("commit", help="the earlier version, as git names it")
    parser.add_argument("--adapters", nargs="+", default=["tiny", "light"], choices=[*SIZES], help="sizes to measure")
    parser.add_argument("--latents", type=int, nargs="+", default=[64, 128, 256], help="sides of the latents")
    parser.add_argument("--scale", type=int, default=2, choices=(2, 4), help="times that they are enlarged")
    parser.add_argument("--repeats", type=int, default=10, help="counted passes of each version, in turns")


def run(options: argparse.Namespace) -> None:
    """Measure; print a table and one JSON line."""
    if options.repeats < 1 or min(options.latents) < 1:
        raise UserError("--repeats and --latents must be 1 at least")
    device = best_device()
    rows: list[dict[str, Any]] = []
    for size in options.adapters:
        rows += compare(size, options.commit, options.latents, options.scale, options.repeats, device)
    table = plain_table(
        f"x{options.scale} on {device}, against {options.commit}: below 1 is faster now",
        "adapter",
        ["latents", "before, s", "now, s", "ratio", "from", "to", "difference"],
    )
    for row in rows:
        cells = [f"{row[name]:.4f}" for name in ("before", "now")]
        cells += [f"{row[name]:.3f}" for name in ("ratio", "low", "high")]
        table.add_row(row["adapter"], str(row["latents"]), *cells, f"{row['difference']:.1e}")
    Console(stderr=True).print(table)
    print(json.dumps({"commit": options.commit, "device": device, "scale": options.scale, "rows": rows}))


COMMAND = Command(
    "speed_ratio",
    "Measure the adapter's speed against an earlier version of its code.",
    "python -m benchmarks.speed_ratio v0.1.0 --adapters tiny --latents 64",
    add_arguments,
    run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.speed_ratio` and return the exit status."""
    return run_command(COMMAND, "python -m benchmarks.speed_ratio", arguments)


if __name__ == "__main__":
    sys.exit(main())

"""Check a `results.json` before it goes to the leaderboard: version, device, methods, numbers and intervals.

Command: make check-submission RESULTS=runs/bench/512-tiny-sdxl-0a1b2c3d/results.json
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lua_lightning.commands.command import Command, run_command

PROGRAM = "python -m benchmarks.submission"
FACTS: dict[str, type] = {
    "device": str, "generator": str, "commit": str, "photos_sha256": str, "size": int, "base_size": int,
}  # fmt: skip
TRACKS = ("reconstruction", "generation")
BOUNDS = {"psnr": (0, 100), "ssim": (-1, 1), "clip": (-1, 1), "win_rate": (0, 1)}  # others: from 0, but for these
SIGNED = ("recovery", "kid", "patch-kid", "preference", "hpsv3")
TOLERANCE = 1e-3  # of a recovery that is computed again


def problems(results: Any) -> list[str]:
    """Return what is wrong with the content of a `results.json`, one sentence each; nothing where all is well."""
    if not isinstance(results, dict):
        return ["it is no JSON object: give the results.json of a benchmark"]
    found = list(fact_problems(results))
    rows, prompts = results.get("rows"), results.get("prompts")
    if not isinstance(rows, list) or not rows or not isinstance(prompts, list):
        return [*found, "rows and prompts must be lists, and rows not empty: send the file as the benchmark wrote it"]
    names = set()
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            found.append(f"row {number} is no object")
            continue
        where = f"row {number} ({row.get('method')}, {row.get('track')})"
        found += [f"{where}: {problem}" for problem in row_problems(row, results.get("size"), len(prompts))]
        if (key := (str(row.get("method")), str(row.get("track")))) in names:
            found.append(f"{where}: the row is there twice")
        names.add(key)
    return found or recovery_problems(rows)


def fact_problems(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with protocol, device, generator, commit, photographs and sizes."""
    from benchmarks.protocol import VERSION

    if results.get("protocol") != VERSION:
        yield f"protocol is {results.get('protocol')!r}, and the leaderboard takes {VERSION!r}: measure again"
    wrong = [key for key, kind in FACTS.items() if type(results.get(key)) is not kind or not results[key]]
    for key in wrong:
        yield f"{key} is missing or no {FACTS[key].__name__}: send the file as the benchmark wrote it"
    if "commit" not in wrong and not re.fullmatch(r"[0-9a-f]{40}", results["commit"]):
        yield f"commit {results['commit']!r} is no commit: measure in a checkout"
    if results.get("dirty"):
        yield "the checkout had changed files: commit them and measure again"
    if not {"size", "base_size"} & {*wrong} and results["size"] % results["base_size"]:
        yield f"size {results['size']} is no multiple of base_size {results['base_size']}"


def row_problems(row: Mapping[str, Any], size: Any, prompts: int) -> Iterator[str]:
    """Yield what is wrong with one row."""
    method = row.get("method")
    if not isinstance(method, str) or not re.fullmatch(r"[\w.+ -]{1,60}", method):
        yield "the method needs a name of letters, digits, '.', '+', '-' and '_', 60 at most"
    if row.get("track") not in TRACKS:
        yield f"track must be one of {', '.join(TRACKS)}"
    if row.get("size") != size:
        yield f"size {row.get('size')} is not the benchmark's {size}"
    if not isinstance(row.get("device", ""), str):
        yield "the device of images made elsewhere must be a text"
    count = row.get("n")
    if type(count) is not int or count < 1:
        yield "n, the number of images, must be at least 1"
    elif row.get("track") == "generation" and count > prompts:
        yield f"n is {count}, and there are {prompts} prompts"
    if not isinstance(row.get("metrics"), dict) or not row["metrics"]:
        yield "it has no metrics"
        return
    for name, entry in row["metrics"].items():
        yield from metric_problems(name, entry)
    yield from cost_problems(row)


def metric_problems(name: str, entry: Any) -> Iterator[str]:
    """Yield what is wrong with one metric: an unknown name, a number that cannot be, an interval that is none."""
    from lua_lightning.errors import UserError
    from lua_lightning.evaluation.registry import metric_of

    try:
        metric = metric_of(name)
    except UserError:
        yield f"unknown metric {name!r}: the table of metrics does not have it"
        return
    if not isinstance(entry, dict) or ("value" not in entry and not isinstance(entry.get("unavailable"), str)):
        yield f"{name} has neither a value nor a reason why it is unavailable"
        return
    if "value" not in entry:
        return
    wrong = [key for key in ("value", "low", "high") if key in entry and not is_number(entry[key])]
    if wrong:
        yield f"{name}: {wrong[0]} is no finite number"
        return
    low, high = BOUNDS.get(metric.key, (-math.inf if metric.key in SIGNED else 0, math.inf))
    if not low <= entry["value"] <= high:
        yield f"{name} is {entry['value']}, which is outside of {low} to {high}"
    if ("low" in entry) != ("high" in entry) or (metric.compares in ("pairs", "prompts") and "low" not in entry):
        yield f"{name} lacks its interval, low and high"
    elif "low" in entry and entry["low"] > entry["high"]:
        yield f"{name}: low {entry['low']} is above high {entry['high']}"
    elif "low" in entry and metric.compares == "pairs" and not entry["low"] <= entry["value"] <= entry["high"]:
        yield f"{name}: {entry['value']} is outside of its interval"


def cost_problems(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with seconds and memory of a row that has them."""
    if "seconds" not in row:
        return
    seconds, spread = row["seconds"], row.get("seconds_spread")
    if not isinstance(seconds, dict) or "total" not in seconds or not all(map(is_number, seconds.values())):
        yield "seconds must be numbers by phase, with a total"
        return
    if min(seconds.values()) < 0 or not 0 < max(seconds.values()) <= seconds["total"]:
        yield "seconds must not be negative, and no phase may exceed the total"
    if not isinstance(spread, dict) or not all(is_number(spread.get(key)) for key in ("low", "high")):
        yield "seconds_spread, with low and high, is missing"
    elif not spread["low"] <= seconds["total"] <= spread["high"]:
        yield f"the total of {seconds['total']} s is outside of its spread"
    elsewhere = row.get("device") and "peak_memory_mib" not in row
    if not elsewhere and (not is_number(row.get("peak_memory_mib")) or row["peak_memory_mib"] <= 0):
        yield "peak_memory_mib must be a number above 0"


def recovery_problems(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return where a recovery does not follow from the PSNRs of its row, of latent bicubic and of the ceiling."""
    from lua_lightning.evaluation.fidelity import recovery
    from lua_lightning.evaluation.rows import CEILING, LATENT_BICUBIC

    by_method = {row["method"]: row["metrics"] for row in rows if row["track"] == "reconstruction"}
    if not by_method:
        return []
    for name in (LATENT_BICUBIC, CEILING):
        if "value" not in by_method.get(name, {}).get("psnr", {}):
            return [f"the reconstruction track lacks the psnr of {name}, which every recovery is measured by"]
    low, high = (by_method[name]["psnr"]["value"] for name in (LATENT_BICUBIC, CEILING))
    found = []
    for name, metrics in by_method.items():
        if "value" in metrics.get("recovery", {}) and "value" in metrics.get("psnr", {}) and low != high:
            value = recovery(metrics["psnr"]["value"], low, high)
            if abs(value - metrics["recovery"]["value"]) > TOLERANCE:
                found.append(f"recovery of {name} is {metrics['recovery']['value']}, and its psnr says {value:.4f}")
    return found


def is_number(value: Any) -> bool:
    """Return whether a value of a JSON file is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks.submission`."""
    parser.add_argument("files", nargs="+", type=Path, metavar="RESULTS", help="results.json of a benchmark")


def run(options: argparse.Namespace) -> int:
    """Print every problem on stderr, or one JSON line for each good file; return 2 if there is any problem."""
    from benchmarks.finished import read_json

    status = 0
    for path in options.files:
        results = read_json(path)
        wrong = problems(results)
        for problem in wrong:
            print(f"{path}: {problem}", file=sys.stderr)
        if wrong:
            status = 2
        else:
            facts = {key: results[key] for key in ("protocol", "device", "generator", "size")}
            print(json.dumps({"file": str(path), **facts, "rows": len(results["rows"])}))
    return status


COMMAND = Command(
    "submission",
    "Check results before they go to the leaderboard.",
    f"{PROGRAM} runs/bench/512-tiny-sdxl-0a1b2c3d/results.json",
    add_arguments,
    run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.submission` and return the exit status."""
    return run_command(COMMAND, PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(main())

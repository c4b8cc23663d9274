"""The README's table of methods, from one measured result."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.protocol import EARLIER, VERSION
from benchmarks.report import cell
from lua_lightning.evaluation.perceptual import EFFNET
from lua_lightning.evaluation.registry import METRICS, label_of
from lua_lightning.evaluation.rows import LUA
from lua_lightning.evaluation.tables import markdown_table

WIDTH = 118  # characters of a line of text

Results = Mapping[int, Mapping[str, Any]]
Row = Mapping[str, Any]


def fidelity(results: Results) -> dict[str, dict[str, Row]]:
    """Return the rows of the reconstruction track by scale and method; the first size of each scale stands for it."""
    found: dict[str, dict[str, Row]] = {}
    for size, result in results.items():
        rows = {row["method"]: row for row in result["rows"] if row["track"] == "reconstruction"}
        found.setdefault(f"x{size // result['base_size']}", rows)
    return found


def cells(by_scale: Mapping[str, Mapping[str, Row]], name: str, keys: Iterable[str]) -> list[str]:
    """Return a method's values of some metrics at every scale."""
    return [cell(rows.get(name, {"metrics": {}}), key, interval=False) for rows in by_scale.values() for key in keys]


def line(name: str, values: list[str]) -> list[str]:
    """Return a row of a table, the adapter's name in bold."""
    return [f"**{name}**" if name == LUA else name, *values]


def methods_table(results: Results) -> str:
    """Return a table with a row for each method: fidelity at every scale, seconds and memory at every size."""
    by_scale, keys = fidelity(results), ("psnr", EFFNET)
    made = {
        (size, row["method"]): row for size, result in results.items() for row in result["rows"] if "seconds" in row
    }
    names = dict.fromkeys([*(name for rows in by_scale.values() for name in rows), *(name for _, name in made)])
    seconds, memory, largest = METRICS["seconds"], METRICS["peak_memory_mib"], max(results)
    heads = [label_of(f"{scale}/{key}") for scale in by_scale for key in keys]
    heads += [f"{size} px, {seconds.unit}" for size in results] + [f"{largest} px, {memory.unit}"]
    lines = []
    for name in names:
        known = [made.get((size, name)) for size in results]
        costs = [seconds.text(row["seconds"]["total"]) if row else "-" for row in known]
        last = made.get((largest, name))
        costs.append(memory.text(last["peak_memory_mib"]) if last else "-")
        lines.append(line(name, [*cells(by_scale, name, keys), *costs]))
    return markdown_table(["method", *heads], lines)


def crops(results: Results) -> str:
    """Return the sentence on the crops that fidelity is measured on."""
    first = next(iter(results.values()))
    count = next(row["n"] for row in first["rows"] if row["track"] == "reconstruction")
    return f"{count} crops of photographs held out for testing, in 8-bit RGB."


def heading(results: Results) -> str:
    """Return the sentences above the table: protocol, device, counts and steps."""
    first = next(iter(results.values()))
    counts = ", ".join(
        f"{size} px from {found['base_size']} ({len(found['prompts'])} prompts, {found['config']['steps']} steps)"
        for size, found in results.items()
    )
    text = (
        f"Protocol {first['protocol']}, {first['device']}: {counts}. Fidelity is measured on {crops(results)} "
        f"These are {first['remark']}."
    )
    if first["protocol"] in EARLIER:
        text += (
            f" Protocol {first['protocol']} is not the present one, which is {VERSION}: {EARLIER[first['protocol']]}. "
            "Neither stands in these tables."
        )
    return textwrap.fill(text, WIDTH)

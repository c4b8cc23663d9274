"""Tables of a benchmark's numbers with their intervals: LaTeX for papers, CSV for sheets, Markdown for pages."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.report import cell, cost, cost_values, named
from benchmarks.report_page import COST, columns_of
from lua_lightning.errors import unknown_name
from lua_lightning.evaluation.intervals import Estimate
from lua_lightning.evaluation.registry import label_of, metric_of
from lua_lightning.evaluation.rows import row_of
from lua_lightning.evaluation.tables import markdown_table

Row = Mapping[str, Any]
SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}  # fmt: skip


def table(results: Mapping[str, Any], kind: str, tracks: Sequence[str], metrics: Sequence[str]) -> str:
    """Return the rows of some tracks as text that ends with a line break.

    Args:
        results: As `results.json` holds them.
        kind: `latex`, `csv` or `markdown`.
        tracks: `reconstruction`, `generation` or both.
        metrics: Keys of the columns; none takes every metric that was measured.

    Raises:
        UserError: A metric has no value in any of the rows.
    """
    rows = [row for row in results["rows"] if row["track"] in tracks]
    known = columns_of(rows)
    for name in metrics:
        if name not in known:
            raise unknown_name("metric of these results", name, known)
    if kind == "csv":
        return csv_table(rows, metrics or known)
    blocks = []
    for track in tracks:
        track_rows = [row for row in rows if row["track"] == track]
        if track_rows:
            names = [name for name in metrics or known if name in columns_of(track_rows)]
            blocks.append(FORMATS[kind](track, track_rows, names))
    text = "\n\n".join(blocks)
    facts = {key: results[key] for key in ("protocol", "generator", "size", "device", "commit")}
    line = ", ".join(f"{key} {value}" for key, value in facts.items())
    comment = {"latex": f"% {_one_line(line)}", "markdown": f"<!-- {_one_line(line).replace('--', '- -')} -->"}[kind]
    return f"{comment}\n\n{text}\n" if kind == "markdown" else f"{comment}\n{text}\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def csv_table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Return whole numbers, not rounded: for each metric its value and the ends of its interval, empty if unknown."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    ends = ("", "/low", "/high")
    costs = ("seconds", "seconds/low", "seconds/high", "peak_memory_mib", "device")
    writer.writerow(["method", "track", "size", "n", *(name + end for name in names for end in ends), *costs])
    for row in rows:
        numbers = []
        for name in names:
            entry = row["metrics"].get(name, {})
            numbers += [entry.get(key, "") for key in ("value", "low", "high")]
        spread = row.get("seconds_spread", {})
        seconds, memory = cost_values(row) if "seconds" in row else ("", "")
        cost_cells = [seconds, spread.get("low", ""), spread.get("high", ""), "" if memory is None else memory]
        cost_cells.append(row.get("device", ""))
        writer.writerow([row["method"], row["track"], row["size"], row["n"], *numbers, *cost_cells])
    return buffer.getvalue()


def _markdown(track: str, rows: Sequence[Row], names: Sequence[str]) -> str:
    timed = any("seconds" in row for row in rows)
    heads = [track, "n", *map(label_of, (*names, *(COST if timed else ())))]
    return markdown_table(
        heads,
        ([named(row), str(row["n"]), *(cell(row, name) for name in names), *(cost(row) if timed else ())]
         for row in rows),
    )  # fmt: skip


def _latex(track: str, rows: Sequence[Row], names: Sequence[str]) -> str:
    """Return a `tabular` for the package booktabs: the best competitor's value in bold, intervals below in small."""
    timed = any("seconds" in row for row in rows)
    best = {name: _best(rows, name) for name in names}
    heads = [track, "n", *map(label_of, (*names, *(COST if timed else ())))]
    lines = [_latex_line(map(escaped, heads)), r"\midrule"]
    for row in rows:
        cells = [escaped(named(row)), str(row["n"])]
        cells += [_latex_cell(row, name, best[name]) for name in names]
        cells += [text.replace("-", "--") for text in cost(row)] if timed else []
        lines.append(_latex_line(cells))
    columns = "l" + "r" * (len(heads) - 1)
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"])


def _latex_line(cells: Any) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(row: Row, name: str, best: float | None) -> str:
    entry, metric = row["metrics"].get(name, {}), metric_of(name)
    if "value" not in entry:
        return "--"
    text = metric.text(entry["value"]).replace("-", "$-$")
    if entry["value"] == best and row_of(row["method"]).competes:
        text = rf"\textbf{{{text}}}"
    if "low" in entry:
        estimate = Estimate.of_entry(entry)
        low, high = (metric.text(end).replace("-", "$-$") for end in (estimate.low, estimate.high))
        text += rf" {{\scriptsize [{low}, {high}]}}"
    return text + ("$^*$" if "note" in entry else "")


def _best(rows: Sequence[Row], name: str) -> float | None:
    known = [row["metrics"][name]["value"] for row in rows
             if row_of(row["method"]).competes and "value" in row["metrics"].get(name, {})]  # fmt: skip
    choose = max if metric_of(name).higher_is_better else min
    return choose(known) if known else None


def escaped(text: str) -> str:
    """Return text as LaTeX prints it."""
    return "".join(SPECIAL.get(character, character) for character in text)


FORMATS: dict[str, Callable[[str, Sequence[Row], Sequence[str]], str]] = {"latex": _latex, "markdown": _markdown}

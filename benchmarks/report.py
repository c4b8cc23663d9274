"""What a benchmark shows: a Markdown table, a plot of fidelity against seconds, and one HTML file with everything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogFormatter
from rich.console import Console

from benchmarks.fairness import told
from benchmarks.finished import crops_of
from benchmarks.report_page import COST, columns_of, page, reasons
from lua_lightning.evaluation.intervals import Estimate
from lua_lightning.evaluation.perceptual import EFFNET
from lua_lightning.evaluation.registry import label_of, metric_of
from lua_lightning.evaluation.rows import LUA
from lua_lightning.evaluation.tables import markdown_table, plain_table
from lua_lightning.files import replacing, write_json, write_text

PLOTTED = ("psnr", EFFNET, "patch-kid/effnet-lite0")  # the first that both a time and a value are known of


def cell(row: Mapping[str, Any], name: str, interval: bool = True) -> str:
    """Return a row's value of a metric, with its interval where there is one, as a table shows it."""
    entry, metric = row["metrics"].get(name, {}), metric_of(name)
    if "value" not in entry:
        return "-"
    whole = interval and "low" in entry
    text = metric.estimate(Estimate.of_entry(entry)) if whole else metric.text(entry["value"])
    return text + ("*" if "note" in entry else "")


def verdict_cell(name: str, entry: Mapping[str, Any]) -> str:
    """Return a paired difference with its interval and its verdict, as a table shows it."""
    return f"{metric_of(name).difference(Estimate.of_entry(entry))} {entry['lua_is']}"


def cost(row: Mapping[str, Any]) -> list[str]:
    """Return the seconds and the memory of a row, as a table shows them."""
    if "seconds" not in row:
        return ["-"] * len(COST)
    values = zip(COST, cost_values(row), strict=True)
    return ["-" if value is None else metric_of(key).text(value) for key, value in values]


def cost_values(row: Mapping[str, Any]) -> tuple[float, float | None]:
    """Return the seconds and the MiB of a row; None where an image made elsewhere came without them."""
    return row["seconds"]["total"], row.get("peak_memory_mib")


def named(row: Mapping[str, Any]) -> str:
    """Return the method of a row, with the device where it was measured on another than the benchmark's."""
    return f"{row['method']} ({row['device']})" if row.get("device") else row["method"]


def markdown(results: Mapping[str, Any]) -> str:
    """Return the tables of both tracks, what was unavailable and why, and the notes of single numbers."""
    blocks = []
    for track in ("reconstruction", "generation"):
        rows = [row for row in results["rows"] if row["track"] == track]
        names, costs = columns_of(rows), COST if track == "generation" else ()
        lines = [
            [named(row), str(row["n"]), *(cell(row, name) for name in names), *(cost(row) if costs else ())]
            for row in rows
        ]
        blocks.append(markdown_table([track, "n", *map(label_of, (*names, *costs))], lines))
    if results["differences"]:
        names = list(next(iter(results["differences"].values())))
        lines = [
            [method, *(verdict_cell(name, metrics[name]) for name in names)]
            for method, metrics in results["differences"].items()
        ]
        blocks.append(markdown_table([f"{LUA} minus", *map(label_of, names)], lines))
    facts = told(results.get("fairness", {}))
    if facts:
        blocks.append("Fairness audit:\n" + "\n".join(f"- {name}: {text}" for name, text in facts))
    missing = reasons(results)
    if missing:
        blocks.append("Unavailable:\n" + "\n".join(f"- {name}: {reason}" for name, reason in missing.items()))
    return "\n\n".join(blocks) + "\n"


def pareto(points: Sequence[tuple[float, float]], higher: bool) -> list[int]:
    """Return which points (seconds, fidelity) no other one beats in both, by rising seconds."""
    gains = [value if higher else -value for _, value in points]
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (points[index][0], -gains[index])):
        if not front or gains[index] > gains[front[-1]]:
            front.append(index)
    return front


@dataclass(frozen=True)
class Point:
    """A method in the plot of a metric against seconds."""

    method: str
    seconds: Estimate
    """Seconds per image on its own device: the median, with the smallest and the largest; three times the same where
    one is known."""
    value: Estimate
    """The metric with its interval; three times the same where there is none."""
    device: str = ""
    """Where it was measured, if elsewhere: seconds of two devices share no front."""


def joined(results: Mapping[str, Any], metric: str) -> list[Point]:
    """Return every method that has both a time and `metric`, in either track."""
    seconds, devices = {}, {}
    for row in (row for row in results["rows"] if "seconds" in row):
        total = row["seconds"]["total"]
        seconds[row["method"]] = Estimate(total, **row.get("seconds_spread", {"low": total, "high": total}))
        devices[row["method"]] = row.get("device", "")
    points = []
    for row in results["rows"]:
        entry = row["metrics"].get(metric, {})
        if row["method"] in seconds and "value" in entry:
            value = entry["value"]
            ends = Estimate(value, entry.get("low", value), entry.get("high", value))
            points.append(Point(row["method"], seconds[row["method"]], ends, devices[row["method"]]))
    return points


class PlainTicks(LogFormatter):
    """Numbers on a logarithmic axis as a person writes them: 0.8, not 8 x 10^-1."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def plot(results: Mapping[str, Any], metric: str) -> plt.Figure:  # pyright: ignore
    """Return the plot of `metric` against seconds per image, with intervals and the Pareto front."""
    points = joined(results, metric)
    figure, axes = plt.subplots(figsize=(7, 4.5), dpi=110)
    places = [(point.seconds.value, point.value.value) for point in points]
    higher = metric_of(metric).higher_is_better
    here = [index for index, point in enumerate(points) if not point.device]
    front = [here[index] for index in pareto([places[index] for index in here], higher)]
    axes.step([places[index][0] for index in front], [places[index][1] for index in front], where="post", color="#bbb")
    for index, (point, place) in enumerate(zip(points, places, strict=True)):
        colour = "#d62728" if point.method.startswith(LUA) else "#7f7f7f" if point.device else "#1f77b4"
        beside, above = whiskers(point.seconds), whiskers(point.value)
        axes.errorbar(*place, above, beside, fmt="o", color=colour, elinewidth=1, capsize=2, zorder=3)
        weight = "bold" if index in front else "normal"
        name = named({"method": point.method, "device": point.device}).replace(
            "$", r"\$"
        )  # a pair of them would begin a formula
        axes.annotate(name, place, (5, 5), textcoords="offset points", fontsize=8, weight=weight)
    better = "higher" if higher else "lower"
    label = f"{label_of(metric)} ({better} is better)"
    axes.set(xscale="log", xlabel=f"{label_of('seconds')} per image", ylabel=label)
    for place in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        place(PlainTicks(minor_thresholds=(2, 0.5)))
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure


def whiskers(estimate: Estimate) -> list[list[float]]:
    """Return how far the ends are below and above a value, as matplotlib takes them; never negative."""
    return [[max(0.0, estimate.value - estimate.low)], [max(0.0, estimate.high - estimate.value)]]


def write_plot(figure: plt.Figure, *paths: Path) -> None:  # pyright: ignore
    """Write a plot into files, PNG or SVG by their suffix; text in SVG stays text, and equal plots are equal files."""
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lua-lightning"}):
        for path in paths:
            vector = path.suffix == ".svg"
            with replacing(path) as partial:
                figure.savefig(partial, format=path.suffix[1:], metadata={"Date": None} if vector else None)
    plt.close(figure)


def write_report(results: Mapping[str, Any], images: Mapping[str, Sequence[Path]], folder: Path) -> dict[str, Path]:
    """Write results, table, plot and page into a benchmark's folder, and return where they are."""
    paths = {
        "results": folder / "results.json",
        "table": folder / "results.md",
        "plot": folder / "fidelity.png",
        "plot_svg": folder / "fidelity.svg",
        "report": folder / "report.html",
    }
    write_text(paths["table"], markdown(results))
    metric = next((name for name in PLOTTED if joined(results, name)), None)
    if metric:
        write_plot(plot(results, metric), paths["plot"], paths["plot_svg"])
    figure = paths["plot_svg"] if metric else None
    write_text(paths["report"], page(results, images, figure, crops_of(folder, results)))
    write_json(paths["results"], results)
    return paths


def print_card(results: Mapping[str, Any]) -> None:
    """Print both tracks on stderr."""
    console = Console(stderr=True)
    for track in ("reconstruction", "generation"):
        rows = [row for row in results["rows"] if row["track"] == track]
        names = [name for name in columns_of(rows) if metric_of(name).key not in ("fid", "patch-fid")][:4]
        costs = COST if track == "generation" else ()
        heads = [label_of(name) for name in (*names, *costs)]
        table = plain_table(f"{track}, {results['size']} px", "method", heads)
        for row in rows:
            cells = [cell(row, name, interval=False) for name in names]
            table.add_row(named(row), *cells, *(cost(row) if costs else ()))
        console.print(table)
    for name, reason in results["failures"].items():
        console.print(f"{name}: {reason}")
    if results["remark"]:
        console.print(f"These are {results['remark']}.")

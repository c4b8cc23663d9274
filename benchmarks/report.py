"""What a benchmark shows: a Markdown table, a plot of fidelity against seconds, and one HTML file with everything."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

from baselines.clock import PHASES
from benchmarks.scoring import direction

PAGE = Path(__file__).parent / "report.template.html"
SHOWN_PROMPTS = 4  # in the HTML file, which holds its images
QUALITY = 93


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the metrics that any of the rows has a value of, in the order of their appearance."""
    names: dict[str, None] = {}
    for row in rows:
        for name, entry in row["metrics"].items():
            if "value" in entry:
                names[name] = None
    return list(names)


def cell(entry: Mapping[str, Any] | None) -> str:
    """Return a metric's value with its interval, as a table shows it."""
    if not entry or "value" not in entry:
        return "-"
    digits = 2 if abs(entry["value"]) >= 10 else 3 if abs(entry["value"]) >= 0.1 else 4
    text = f"{entry['value']:.{digits}f}"
    if "low" in entry:
        text += f" [{entry['low']:.{digits}f}, {entry['high']:.{digits}f}]"
    return text + ("*" if "note" in entry else "")


def markdown(results: Mapping[str, Any]) -> str:
    """Return the tables of both tracks, what was unavailable and why, and the notes of single numbers."""
    blocks = []
    for track in ("reconstruction", "generation"):
        rows = [row for row in results["rows"] if row["track"] == track]
        names = columns_of(rows)
        timed = ["s", "MiB"] if track == "generation" else []
        lines = [
            f"| {' | '.join([track, 'n', *names, *timed])} |",
            "|" + "---|" * (2 + len(names) + len(timed)),
        ]
        for row in rows:
            own = [cell(row["metrics"].get(name)) for name in names]
            if timed and "seconds" in row:
                own += [f"{row['seconds']['total']:.2f}", f"{row['peak_memory_mib']:.0f}"]
            elif timed:
                own += ["-", "-"]
            lines.append(f"| {' | '.join([row['method'], str(row['n']), *own])} |")
        blocks.append("\n".join(lines))
    if results["differences"]:
        names = list(next(iter(results["differences"].values())))
        lines = [f"| lua minus | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
        for rival, own in results["differences"].items():
            cells = [f"{cell(own[name])} {own[name]['lua_is']}" for name in names]
            lines.append(f"| {rival} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    missing = reasons(results)
    if missing:
        blocks.append("Unavailable:\n" + "\n".join(f"- {name}: {reason}" for name, reason in missing.items()))
    return "\n\n".join(blocks) + "\n"


def reasons(results: Mapping[str, Any]) -> dict[str, str]:
    """Return what is missing, metrics and methods, with the reason."""
    found = dict(results["failures"])
    for row in results["rows"]:
        for name, entry in row["metrics"].items():
            if "unavailable" in entry:
                found[name] = entry["unavailable"]
    return found


def pareto(points: Sequence[tuple[float, float]], higher: bool) -> list[int]:
    """Return which points (seconds, fidelity) no other one beats in both, by rising seconds."""
    gains = [value if higher else -value for _, value in points]
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (points[index][0], -gains[index])):
        if not front or gains[index] > gains[front[-1]]:
            front.append(index)
    return front


def joined(results: Mapping[str, Any], metric: str) -> list[tuple[str, float, float]]:
    """Return method, seconds and value of every method that has both a time and `metric`, in either track."""
    seconds = {row["method"]: row["seconds"]["total"] for row in results["rows"] if "seconds" in row}
    return [
        (row["method"], seconds[row["method"]], row["metrics"][metric]["value"])
        for row in results["rows"]
        if row["method"] in seconds and "value" in row["metrics"].get(metric, {})
    ]


def plot(results: Mapping[str, Any], metric: str) -> plt.Figure:  # pyright: ignore
    """Return the plot of `metric` against seconds per image, with the Pareto front."""
    points = joined(results, metric)
    figure, axes = plt.subplots(figsize=(7, 4.5), dpi=110)
    places = [(seconds, value) for _, seconds, value in points]
    front = pareto(places, direction(metric))
    axes.step([places[index][0] for index in front], [places[index][1] for index in front], where="post", color="#bbb")
    for index, (name, seconds, value) in enumerate(points):
        axes.scatter(seconds, value, color="#d62728" if name.startswith("lua") else "#1f77b4", zorder=3)
        weight = "bold" if index in front else "normal"
        axes.annotate(name, (seconds, value), (5, 5), textcoords="offset points", fontsize=8, weight=weight)
    better = "higher" if direction(metric) else "lower"
    axes.set(xscale="log", xlabel="seconds per image", ylabel=f"{metric} ({better} is better)")
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure


def data_uri(path: Path) -> str:
    """Return an image file as a JPEG data URI."""
    with Image.open(path) as image:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, format="JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def page(results: Mapping[str, Any], images: Mapping[str, Sequence[Path]], prompts: Sequence[str], figure: Path) -> str:
    """Return the HTML file: it needs no network and no other file.

    Args:
        results: As `results.json` holds them.
        images: Files of each method, in the order of prompts.
        prompts: Texts.
        figure: PNG of the plot.
    """
    tables = []
    for track in ("reconstruction", "generation"):
        rows = [row for row in results["rows"] if row["track"] == track]
        tables.append({"track": track, "columns": columns_of(rows), "rows": rows})
    content = {
        "tables": tables,
        "higher": {name: direction(name) for table in tables for name in table["columns"]},
        "phases": PHASES,
        "prompts": prompts[:SHOWN_PROMPTS],
        "images": {name: [data_uri(path) for path in paths[:SHOWN_PROMPTS]] for name, paths in images.items()},
        "unavailable": reasons(results),
    }
    facts = {key: results[key] for key in ("protocol", "commit", "device", "generator", "size", "remark")}
    return Template(PAGE.read_text()).substitute(
        title=html.escape(f"{results['size']} px with {results['generator']}"),
        facts=" · ".join(f"<b>{html.escape(key)}</b> {html.escape(str(value))}" for key, value in facts.items()),
        figure="data:image/png;base64," + base64.b64encode(figure.read_bytes()).decode(),
        data=json.dumps(content).replace("</", "<\\/"),
    )

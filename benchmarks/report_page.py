"""The report of a benchmark as one HTML file: it holds its images and asks no network."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from baselines.clock import PHASES
from benchmarks.fairness import told
from benchmarks.finished import SHOWN_CROPS
from benchmarks.pages import embedded, file_uri, jpeg_uri
from benchmarks.protocol import SCORED
from lua_lightning.evaluation.registry import label_of, metric_of
from lua_lightning.evaluation.rows import LATENT_BICUBIC, LUA, row_of
from lua_lightning.pictures import read_image

PAGE = Path(__file__).parent / "report.template.html"
SHOWN_PROMPTS = 4
PLOT = "Fidelity against seconds per image, with intervals and the Pareto front"
NO_PLOT = "<p>No method has both a time and a metric of images.</p>"
COST = ("seconds", "peak_memory_mib")  # metrics that the generation track has beside those of its images
RANKS = ("psnr", "patch-kid/effnet-lite0")  # the first that rivals have a value of tells the strongest


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the metrics that any of the rows has a value of, in the order of their appearance."""
    names: dict[str, None] = {}
    for row in rows:
        for name, entry in row["metrics"].items():
            if "value" in entry:
                names[name] = None
    return list(names)


def reasons(results: Mapping[str, Any]) -> dict[str, str]:
    """Return what is missing, methods and metrics by their label, with the reason; a person's home is `~`."""
    found = dict(results["failures"])
    for row in results["rows"]:
        for name, entry in row["metrics"].items():
            if "unavailable" in entry:
                found[label_of(name, unit=False)] = entry["unavailable"]
    return {name: reason.replace(str(Path.home()), "~") for name, reason in found.items()}


def shown_metric(name: str) -> dict[str, Any]:
    """Return what the page needs to print a metric."""
    metric = metric_of(name)
    return {
        "label": label_of(name),
        "higher": metric.higher_is_better,
        "digits": metric.digits,
        "factor": metric.factor,
        "source": metric.source,
        "scored": name in SCORED,
    }


def strongest_rival(results: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return which of `names` competes best with the adapter; latent bicubic where nothing tells."""
    for metric in RANKS:
        values = {
            row["method"]: row["metrics"][metric]["value"] * (1 if metric_of(metric).higher_is_better else -1)
            for row in results["rows"]
            if row["method"] in names and not row["method"].startswith(LUA) and row_of(row["method"]).competes
            if "value" in row["metrics"].get(metric, {})
        }
        if values:
            return max(values, key=lambda name: values[name])
    return LATENT_BICUBIC


def page(
    results: Mapping[str, Any],
    images: Mapping[str, Sequence[Path]],
    figure: Path | None,
    crops: Mapping[str, Sequence[Path]] | None = None,
) -> str:
    """Return the HTML file: it needs no network and no other file.

    Args:
        results: As `results.json` holds them.
        images: Files of each method, in the order of prompts.
        figure: PNG or SVG file of the plot; None where no method has both a time and a plotted metric.
        crops: Files of what each row made of the first crops of photographs, and the crops themselves.
    """
    tables = []
    for track in ("reconstruction", "generation"):
        rows = [row for row in results["rows"] if row["track"] == track]
        tables.append({"track": track, "columns": columns_of(rows), "rows": rows})
    crops = crops or {}
    content = {
        "tables": tables,
        "pairs": results.get("pairs") or ({LUA: results["differences"]} if results["differences"] else {}),
        "metrics": {name: shown_metric(name) for table in tables for name in (*table["columns"], *COST)},
        "about": {row["method"]: row_of(row["method"]).about for row in results["rows"]},
        "start": [strongest_rival(results, [*images]), LUA],
        "device": results["device"],
        "phases": PHASES,
        "prompts": results["prompts"][:SHOWN_PROMPTS],
        "images": _uris(images, SHOWN_PROMPTS),
        "crop_titles": [f"crop {number + 1}" for number in range(max(map(len, crops.values()), default=0))],
        "crops": _uris(crops, SHOWN_CROPS),
        "unavailable": reasons(results),
        "votes": results.get("votes"),
        "fairness": told(results.get("fairness", {})),
    }
    facts = {key: results[key] for key in ("protocol", "commit", "device", "generator", "size", "remark")}
    facts["commit"] = str(facts["commit"])[:12]
    plot = f'<img class="plot" src="{file_uri(figure)}" alt="{PLOT}">' if figure else NO_PLOT
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=html.escape(f"{results['size']} px with {results['generator']}"),
        facts=" · ".join(f"<b>{html.escape(key)}</b> {html.escape(str(value))}" for key, value in facts.items()),
        figure=plot,
        data=embedded(content),
    )


def _uris(images: Mapping[str, Sequence[Path]], most: int) -> dict[str, list[str]]:
    return {name: [jpeg_uri(read_image(path)) for path in paths[:most]] for name, paths in images.items()}

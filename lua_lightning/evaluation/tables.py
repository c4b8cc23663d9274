"""The table of every method's scores, on the terminal and in Markdown."""

from collections.abc import Iterable, Iterator, Mapping

from rich import box
from rich.console import Console
from rich.table import Table

from lua_lightning.evaluation.perceptual import available

METRICS = ("PSNR", "SSIM", "recov.")
METHODS = {
    "bicubic": "latent bicubic",
    "pixel_bicubic": "decoded LR, bicubic",
    None: "adapter",
    "ceiling": "codec ceiling",
    "photo_bicubic": "LR photo, bicubic",
}


def reported() -> tuple[str, ...]:
    """Return the names of an adapter's own metrics that cards and closing tables show, as far as they are available."""
    return ("psnr", "ssim", "recovery", *(distance.name for distance in available()), "out_of_range")


def plain_table(title: str, label: str, columns: Iterable[str]) -> Table:
    """Return an empty table: a column of labels, then right-aligned ones for numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(label, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def score_rows(scores: Mapping[str, float]) -> Iterator[tuple[str | None, list[str]]]:
    """Yield each method with its PSNR (dB), SSIM and recovery at every scale, formatted.

    Args:
        scores: `x<scale>/<metric>` as `evaluation.evaluate` returns them.
    """
    for method in METHODS:
        suffix = f"_{method}" if method else ""
        cells = []
        for scale in _scales(scores):
            psnr, ssim = (scores[f"{scale}/{metric}{suffix}"] for metric in ("psnr", "ssim"))
            low, high = scores[f"{scale}/psnr_bicubic"], scores[f"{scale}/psnr_ceiling"]
            cells += [f"{psnr:.2f}", f"{ssim:.3f}", f"{(psnr - low) / (high - low):.2f}"]
        yield method, cells


def print_scores(scores: Mapping[str, float], title: str) -> None:
    """Print the table on stderr, so that stdout's last line stays one JSON object."""
    table = plain_table(f"{title}; PSNR in dB", "method", _headers(scores))
    for method, cells in score_rows(scores):
        table.add_row(METHODS[method], *cells, style="" if method else "bold")
    Console(stderr=True).print(table)


def markdown_scores(scores: Mapping[str, float], adapter: str) -> str:
    """Return the table in Markdown, the adapter's row in bold under the name `adapter`."""
    headers = _headers(scores)
    lines = [f"| method | {' | '.join(headers)} |", "|---|" + "---|" * len(headers)]
    for method, cells in score_rows(scores):
        label = METHODS[method] if method else adapter
        lines.append("| " + " | ".join(cell if method else f"**{cell}**" for cell in [label, *cells]) + " |")
    return "\n".join(lines)


def _scales(scores: Mapping[str, float]) -> list[str]:
    return sorted({name.partition("/")[0] for name in scores})


def _headers(scores: Mapping[str, float]) -> list[str]:
    return [f"{scale} {metric}" for scale in _scales(scores) for metric in METRICS]

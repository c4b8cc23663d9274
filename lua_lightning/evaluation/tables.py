"""The table of every method's scores, on the terminal and in Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from lua_lightning.evaluation.fidelity import recovery
from lua_lightning.evaluation.registry import METRICS, keys_of, label_of, why_unavailable
from lua_lightning.evaluation.rows import CEILING, LATENT_BICUBIC, LUA, trained_rows

SHOWN = ("psnr", "ssim", "recovery")  # the columns at each scale; a terminal of 80 characters holds no more


def reported() -> tuple[str, ...]:
    """Return the keys of an adapter's own metrics that cards and closing tables show, as far as they are available."""
    return (*(key for key in keys_of("pairs") if why_unavailable(key) is None), "out_of_range")


def plain_table(title: str, label: str, columns: Iterable[str]) -> Table:
    """Return an empty table: a column of labels, then right-aligned ones for numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(label, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]])


def score_rows(scores: Mapping[str, float]) -> Iterator[tuple[str, list[str]]]:
    """Yield each row's name and its printed PSNR, SSIM and recovery at every scale.

    Args:
        scores: `x<scale>/<metric>` as `scoring.evaluate` returns them.
    """
    suffixes = trained_rows()
    for name, suffix in suffixes.items():
        cells = []
        for scale in _scales(scores):
            ends = (suffix, suffixes[LATENT_BICUBIC], suffixes[CEILING])
            psnr, low, high = (scores[f"{scale}/psnr{end}"] for end in ends)
            values = {"psnr": psnr, "ssim": scores[f"{scale}/ssim{suffix}"], "recovery": recovery(psnr, low, high)}
            cells += [METRICS[key].text(values[key]) for key in SHOWN]
        yield name, cells


def print_scores(scores: Mapping[str, float], title: str, method: str = LUA) -> None:
    """Print the table on stderr, so that stdout's last line stays one JSON object; see `markdown_scores`."""
    units = [f"{METRICS[key].label} in {METRICS[key].unit}" for key in SHOWN if METRICS[key].unit]
    table = plain_table("; ".join([title, *units]), "method", _heads(scores, unit=False))
    for name, cells in score_rows(scores):
        is_lua = name == LUA
        table.add_row(method if is_lua else name, *cells, style="bold" if is_lua else "")
    Console(stderr=True).print(table)


def markdown_scores(scores: Mapping[str, float], method: str = LUA) -> str:
    """Return the table in Markdown, the trained network's row in bold.

    Args:
        scores: As `score_rows` takes them.
        method: The row of the trained network: `lua`, or the method that it is trained for.
    """
    rows = []
    for name, cells in score_rows(scores):
        rows.append([f"**{cell}**" for cell in [method, *cells]] if name == LUA else [name, *cells])
    return markdown_table(["method", *_heads(scores)], rows)


def _scales(scores: Mapping[str, float]) -> list[str]:
    return sorted({name.partition("/")[0] for name in scores})


def _heads(scores: Mapping[str, float], unit: bool = True) -> list[str]:
    return [label_of(f"{scale}/{key}", unit) for scale in _scales(scores) for key in SHOWN]

"""Remake the tables and plots of `docs/ablations.md` from the sweeps that are finished here.

Command: make docs-ablations   (after the commands that the page gives; what has not been trained keeps its old table)
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from docs.pages import ROOT, write_between
from lua_lightning.sweeps.plan import VARIANTS, load_plan
from lua_lightning.sweeps.plots import plot_axis
from lua_lightning.sweeps.summary import markdown, summarise_sweep

PAGE = ROOT / "docs/ablations.md"
METRICS = ("psnr", "perceptual/effnet-lite0", "lpips/alex")


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        sweep: Name of the file in `experiments/sweeps/`.
        overrides: What its command sets.
        seeds: What its command sets; None for the file's own.
        metrics: Its columns, at each scale.
    """

    sweep: str
    overrides: Sequence[str] = ()
    seeds: Sequence[int] | None = None
    metrics: Sequence[str] = METRICS


TABLES = {
    "stages": Table("stages", seeds=(0, 1, 2)),
    "losses": Table("losses", seeds=(0, 1, 2)),
    "scales": Table("scales", seeds=(0, 1, 2)),
    "claim-tiny-d4": Table("claim", ["cache.codec=tiny-d4"]),
    "claim-tiny-d16": Table("claim", ["cache.codec=tiny-d16"]),
    "transfer": Table("transfer"),
    "range": Table("range", metrics=("psnr", "out_of_range")),
}


def write(name: str, table: Table) -> str | None:
    """Put a sweep's table and plot into the page; return what is missing for it, or None."""
    plan = load_plan(ROOT / f"experiments/sweeps/{table.sweep}.yaml", table.overrides, table.seeds)
    missing = sum(run.state != "finished" for run in plan.runs)
    if missing:
        return f"{name}: {missing} of {len(plan.runs)} runs are missing in {plan.folder.parent}"
    summary = summarise_sweep(plan)
    picture = f"images/ablation-{name}.png"
    plot_axis(plan, summary, VARIANTS, PAGE.parent / picture)
    write_between(PAGE, name, f"{markdown(plan, summary, table.metrics)}\n![{name}]({picture})")
    return None


def main() -> int:
    """Write every table whose sweep is finished; say which are not."""
    missing = [text for name, table in TABLES.items() if (text := write(name, table))]
    for text in missing:
        print(f"docs.ablation_tables: {text}; its table stays as it was", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

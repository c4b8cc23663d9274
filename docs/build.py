"""Regenerate what the README shows, from one measured result (`docs/measured.json`) and the shipped models.

Command: make docs
"""

import sys

from benchmarks.benchmark import resolve
from benchmarks.config import BenchConfig
from docs.close_ups import close_ups
from docs.measured import IMAGES, measured
from docs.pages import ROOT, write_between
from docs.readme_tables import crops, heading, long_table, short_table
from lua_lightning.errors import UserError

README = ROOT / "README.md"


def main(photos: str = "data/photos") -> int:
    """Write the README's two tables and `docs/images/comparison.png`.

    Args:
        photos: Folder of the photo set that was measured on.
    """
    try:
        results = measured()
        write_between(README, "table", f"{crops(results)}\n\n{short_table(results)}")
        write_between(README, "benchmark", f"{heading(results)}\n\n{long_table(results)}")
        close_ups(resolve(BenchConfig(photos=photos))).save(IMAGES / "comparison.png")
    except UserError as error:
        print(f"docs.build: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

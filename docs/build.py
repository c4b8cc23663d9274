"""Regenerate what the README shows, from the measured results `docs/measured.json` and `docs/zoo.json`.

Command: make docs
"""

import sys

from docs.close_ups import close_ups
from docs.measured import IMAGES, measured
from docs.pages import ROOT, write_between
from docs.readme_tables import heading, methods_table
from docs.zoo import gains, gains_table
from lua_lightning.errors import UserError
from lua_lightning.zoo import DEFAULT_ADAPTER

README = ROOT / "README.md"


def main(photos: str = "data/photos") -> int:
    """Write the README's tables and `docs/images/comparison.png`.

    Args:
        photos: Folder of the photo set that the close-ups are of.
    """
    try:
        results = measured()
        write_between(README, "benchmark", f"{heading(results)}\n\n{methods_table(results)}")
        write_between(README, "zoo", gains_table(gains()))
        close_ups(DEFAULT_ADAPTER, photos).save(IMAGES / "comparison.png")
    except UserError as error:
        print(f"docs.build: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

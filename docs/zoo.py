"""What every shipped adapter gains, from one measured result (`docs/zoo.json`), for its card and the README.

Command: make docs-zoo (measures anew and writes the cards; `make docs` writes the README)
"""

import json
import sys
from collections.abc import Iterable

from benchmarks.zoo_check import COLUMNS, Gain
from docs.pages import ROOT, write_between
from lua_lightning.evaluation.tables import markdown_table
from lua_lightning.files import write_text
from lua_lightning.training.cards import CARD
from lua_lightning.zoo import ZOO

MEASURED = ROOT / "docs/zoo.json"
START, END = "<!-- gains -->", "<!-- /gains -->"
INTRODUCTION = (
    "\n## On test photographs\n\nAgainst `pixel-bicubic`, the bicubic enlargement of the decoded low-resolution "
    f"latents, by `make zoo-check`:\n\n{START}\n{END}\n"
)


def gains() -> list[Gain]:
    """Return the measured gains of all shipped adapters."""
    return [Gain.of_entry(entry) for entry in json.loads(MEASURED.read_text())["gains"]]


def gains_table(rows: Iterable[Gain], names: bool = True) -> str:
    """Return gains as a Markdown table, with a column of the adapters' names or without."""
    heads = [*(["adapter"] if names else []), *COLUMNS]
    return markdown_table(heads, [[*([f"`{one.adapter}`"] if names else []), *one.cells()] for one in rows])


def write_cards(rows: list[Gain]) -> None:
    """Write each adapter's gains into its card, in a last section that is added where it is missing."""
    for name in dict.fromkeys(one.adapter for one in rows):
        card = ZOO / name / CARD
        if START not in card.read_text():
            write_text(card, card.read_text() + INTRODUCTION)
        write_between(card, "gains", gains_table([one for one in rows if one.adapter == name], names=False))


def main() -> int:
    """Write the cards and the README's table of gains."""
    write_cards(gains())
    return 0


if __name__ == "__main__":
    sys.exit(main())

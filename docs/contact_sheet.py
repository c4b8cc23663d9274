"""The picture of what every method makes of the prompts of a benchmark, with the seconds that it took."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from benchmarks.store import image_path
from lua_lightning.errors import UserError

SHOWN = 3  # prompts, at most
CELL, MARGIN, TITLE = 288, 6, 40  # pixels


def sheet(folder: Path) -> Image.Image:
    """Return the images of a finished benchmark in a grid: methods in columns, with names and median seconds above.

    Raises:
        UserError: The benchmark's images are no longer there.
    """
    results = json.loads((folder / "results.json").read_text())
    seconds = {row["method"]: row["seconds"]["total"] for row in results["rows"] if "seconds" in row}
    count = min(SHOWN, len(results["prompts"]))
    images = {name: [image_path(folder, name, index) for index in range(count)] for name in seconds}
    gone = next((path for paths in images.values() for path in paths if not path.is_file()), None)
    if gone is not None:
        raise UserError(f"{gone} is no longer there: run `make bench-{results['size']}` again")
    return grid(images, seconds)


def grid(images: Mapping[str, Sequence[Path]], seconds: Mapping[str, float]) -> Image.Image:
    """Return images in a grid of two blocks, each method a column."""
    names, rows = list(images), len(next(iter(images.values())))
    half = -(-len(names) // 2)
    canvas = Image.new("RGB", (half * (CELL + MARGIN), 2 * rows * (CELL + MARGIN) + 2 * TITLE), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for block, shown in enumerate((names[:half], names[half:])):
        top = block * (rows * (CELL + MARGIN) + TITLE)
        for column, name in enumerate(shown):
            left = column * (CELL + MARGIN)
            draw.text((left + 4, top + 8), f"{name}  {seconds[name]:.1f} s", fill="black", font=font)
            for row, path in enumerate(images[name]):
                picture = Image.open(path).convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)
                canvas.paste(picture, (left, top + TITLE + row * (CELL + MARGIN)))
    return canvas

"""Remake the picture of what every method makes of three prompts, with the seconds that it took.

Command: make contact-sheet
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.progress import track

from baselines.contract import Outcome, World
from baselines.registry import METHODS, build_method
from lua_lightning.images import to_uint8

ROOT = Path(__file__).parent.parent
PROMPTS = (
    "rowing boats on the shore of a mountain lake at sunset",
    "a red and orange flower in a garden",
    "a path through a dark green forest",
)
SEED, BASE, SIZE, STEPS, CELL = 42, 256, 512, 20, 288
MARGIN, TITLE = 6, 40


def images_of(world: World, prompt: str) -> dict[str, Outcome]:
    """Return what each method that runs here makes of a prompt."""
    start = world.start(prompt, SEED, BASE)
    outcomes = {}
    for name in track(METHODS, description=prompt[:30]):
        method = build_method(name, world)
        if name != "hidiffusion":  # which the embedded UNet does not allow
            outcomes[name] = method.run(start, SIZE)
    return outcomes


def sheet(rows: list[dict[str, Outcome]]) -> Image.Image:
    """Return all images in a grid, methods in columns, with names and seconds above."""
    names = list(rows[0])
    half = -(-len(names) // 2)
    width, height = half * (CELL + MARGIN), 2 * len(rows) * (CELL + MARGIN) + 2 * TITLE
    canvas = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for block, own in enumerate((names[:half], names[half:])):
        top = block * (len(rows) * (CELL + MARGIN) + TITLE)
        for column, name in enumerate(own):
            seconds = sum(sum(row[name].seconds.values()) for row in rows) / len(rows)
            draw.text((column * (CELL + MARGIN) + 4, top + 8), f"{name}  {seconds:.1f} s", fill="black", font=font)
            for index, row in enumerate(rows):
                picture = Image.fromarray(to_uint8(row[name].image)).resize((CELL, CELL), Image.Resampling.LANCZOS)
                canvas.paste(picture, (column * (CELL + MARGIN), top + TITLE + index * (CELL + MARGIN)))
    return canvas


def main() -> None:
    """Write `docs/images/methods.jpg`."""
    world = World("tiny-sdxl", device="cpu", steps=STEPS)
    path = ROOT / "docs/images/methods.jpg"
    sheet([images_of(world, prompt) for prompt in PROMPTS]).save(path, quality=88)
    print(path)


if __name__ == "__main__":
    main()

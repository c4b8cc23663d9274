"""Draw a ComfyUI workflow from its JSON: `python -m docs.workflow_picture` makes the node pack's picture again."""

import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WORKFLOW = Path("comfyui/example_workflows/lua_upscale.json")
WIDTH, LINE, GAP, MARGIN = 240, 18, 60, 24
PAPER, BOX, HEAD, TEXT, WIRE, OURS = "#202020", "#353535", "#4a4a4a", "#e8e8e8", "#c8a13a", "#2f6f4f"


def columns(graph: dict[str, Any]) -> dict[str, int]:
    """Return the column of each node: one right of the rightmost that it takes something from."""

    def column(name: str) -> int:
        sources = [value[0] for value in graph[name]["inputs"].values() if isinstance(value, list)]
        return 1 + max((column(source) for source in sources), default=-1)

    return {name: column(name) for name in graph}


def draw(graph: dict[str, Any]) -> Image.Image:
    """Return the picture of a workflow in the form of ComfyUI's API."""
    font, places, bottoms = ImageFont.load_default(13), {}, {}
    for name, column in columns(graph).items():
        lines = [f"{key}: {value}" for key, value in graph[name]["inputs"].items() if not isinstance(value, list)]
        wired = [key for key, value in graph[name]["inputs"].items() if isinstance(value, list)]
        top = bottoms.get(column, MARGIN)
        height = LINE * (len(lines) + len(wired) + 1) + 14
        places[name] = (MARGIN + column * (WIDTH + GAP), top, height, wired, lines)
        bottoms[column] = top + height + MARGIN
    size = MARGIN * 2 + len(bottoms) * (WIDTH + GAP) - GAP, max(bottoms.values())
    picture = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(picture)
    for name, (left, top, _, wired, _) in places.items():
        for row, key in enumerate(wired, 1):
            source = graph[name]["inputs"][key][0]
            start = places[source][0] + WIDTH, places[source][1] + 12
            end = left, top + row * LINE + 16
            middle = end[0] - GAP // 2
            pen.line([start, (start[0] + 10, start[1]), (middle, end[1]), end], fill=WIRE, width=2, joint="curve")
    for name, (left, top, height, wired, lines) in places.items():
        pen.rounded_rectangle((left, top, left + WIDTH, top + height), 6, fill=BOX)
        ours = graph[name]["class_type"].startswith("Lua")
        pen.rounded_rectangle((left, top, left + WIDTH, top + LINE + 6), 6, fill=OURS if ours else HEAD)
        pen.text((left + 10, top + 4), graph[name]["_meta"]["title"], fill=TEXT, font=font)
        for row, line in enumerate([*wired, *lines], 1):
            if row <= len(wired):
                pen.ellipse((left - 4, top + row * LINE + 12, left + 4, top + row * LINE + 20), fill=WIRE)
            pen.text((left + 14, top + row * LINE + 8), line[:34], fill=TEXT, font=font)
    return picture


def main() -> None:
    """Write the picture beside the workflow."""
    from lua_lightning.images import write_image

    write_image(WORKFLOW.with_suffix(".png"), draw(json.loads(WORKFLOW.read_text())))


if __name__ == "__main__":
    main()

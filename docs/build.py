"""Remake what the README shows: the table of measured numbers and the picture, from the shipped models.

Command: make docs
"""

import json
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch.utils.data import DataLoader

from lua_lightning.config import RunConfig, load_config
from lua_lightning.evaluation.rows import CEILING, LATENT_BICUBIC, LUA, PIXEL_BICUBIC
from lua_lightning.evaluation.scoring import evaluate, reference
from lua_lightning.evaluation.tables import markdown_scores
from lua_lightning.images import downscale, to_uint8
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.cache import build_cache
from lua_lightning.pairs.crops import STEP, detail_map
from lua_lightning.pairs.dataset import PairDataset
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.pipeline import upscale_latents

ROOT = Path(__file__).parent.parent
ADAPTER, EXPERIMENT = "lua-tiny-d16", ROOT / "experiments/stage1.yaml"
SHOWN = ("onestandsout.png", "picture-0b-by-freespace.png", "bridge-by-sander-klootwijk.png")
COLUMNS = ("LR photograph", LATENT_BICUBIC, PIXEL_BICUBIC, LUA, CEILING, "HR photograph")
CLOSE_UP = 160  # pixels of the HR crop that a cell of the picture shows


def write_between(path: Path, name: str, text: str) -> None:
    """Replace what stands between the markers `name` in a Markdown file.

    Raises:
        ValueError: The file lacks a marker; nothing is written.
    """
    content = path.read_text()
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, after = content.index(start) + len(start), content.index(end)
    path.write_text(f"{content[:before]}\n{text}\n{content[after:]}")


@torch.inference_mode()
def picture(adapter: LatentUpscaler, codec: LatentCodec, pairs: PairDataset, scale: int, path: Path) -> None:
    """Write each photograph's most detailed close-up by each method side by side, one row per photograph."""
    names = pairs.cache.photo_names
    wanted = {}
    for n in range(len(pairs)):
        item = pairs[n]
        wanted.setdefault(Path(names[item["photo"]]).name, item)
    font = ImageFont.load_default(15)
    sheet = Image.new("RGB", (len(COLUMNS) * (CLOSE_UP + 6), len(SHOWN) * (CLOSE_UP + 6) + 24), "white")
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(COLUMNS):
        draw.text((column * (CLOSE_UP + 6) + 4, 3), name, fill="black", font=font)
    for row, shown in enumerate(SHOWN):
        batch = {key: value[None] for key, value in wanted[shown].items() if isinstance(value, torch.Tensor)}
        images = dict(reference(codec, batch, scale).images)
        small = downscale(batch["image"], scale)
        images["LR photograph"] = torch.nn.functional.interpolate(small, scale_factor=scale, mode="nearest")
        images[LUA] = codec.decode(upscale_latents(adapter, codec, batch[f"lr_x{scale}"], scale))
        images["HR photograph"] = batch["image"]
        detail = detail_map(batch["image"], CLOSE_UP)
        top, left = (STEP * position for position in divmod(int(detail.argmax()), detail.shape[1]))
        for column, name in enumerate(COLUMNS):
            part = images[name][..., top : top + CLOSE_UP, left : left + CLOSE_UP].clamp(-1, 1)
            sheet.paste(Image.fromarray(to_uint8(part)), (column * (CLOSE_UP + 6), 24 + row * (CLOSE_UP + 6)))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def main() -> None:
    """Write `docs/images/comparison.png` and the README's table."""
    config = load_config(RunConfig, EXPERIMENT)
    adapter = LatentUpscaler.from_pretrained(ADAPTER)
    codec = LatentCodec.from_pretrained(config.cache.codec)
    pairs = PairDataset(build_cache(config.cache, PhotoSet.load(config.data.photos), codec), "test")
    scores = evaluate(adapter, codec, DataLoader(pairs, batch_size=4), (2, 4))
    heading = f"{len(pairs)} crops of 512 px from test photographs, used for nothing else, in 8-bit RGB."
    write_between(ROOT / "README.md", "table", f"{heading}\n\n{markdown_scores(scores)}")
    picture(adapter, codec, pairs, 2, ROOT / "docs/images/comparison.png")
    print(json.dumps(scores))


if __name__ == "__main__":
    main()

"""The images of a benchmark: one PNG each, with everything that made it inside, so that a file is a finished job."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from lua_lightning.images import write_image

KEY = "lua-lightning"  # of the PNG text that holds the record


@dataclass(frozen=True)
class Record:
    """What made one image, and what it took.

    Attributes:
        method: Name of the method.
        index: Number of the prompt.
        prompt: Its text.
        seed: Of the image.
        size: Side asked for, in pixels.
        fingerprint: Of the settings that determine the image.
        seconds: By phase.
        peak_mib: By phase.
        shared: Phases that were run once for several methods.
        threads: Of PyTorch; None in images that are older than this record of it, as in the next two.
        device: What it was made on.
        warm_ups: Runs of the method before its first counted image.
    """

    method: str
    index: int
    prompt: str
    seed: int
    size: int
    fingerprint: str
    seconds: dict[str, float]
    peak_mib: dict[str, float]
    shared: tuple[str, ...] = ()
    threads: int | None = None
    device: str | None = None
    warm_ups: int | None = None


def image_path(folder: Path, method: str, index: int) -> Path:
    """Return where the image of a prompt is stored."""
    return folder / "images" / method / f"{index:04d}.png"


def write(folder: Path, image: Tensor, record: Record) -> None:
    """Store an image (1, 3, H, W) in [-1, 1]; a reader never sees half a file."""
    write_image(image_path(folder, record.method, record.index), image, {KEY: json.dumps(asdict(record))})


def read(folder: Path, method: str, index: int, fingerprint: str) -> Record | None:
    """Return the record of a stored image, None where there is none, it is damaged, or other settings made it."""
    path = image_path(folder, method, index)
    try:
        with Image.open(path) as image:
            content: dict[str, Any] = json.loads(image.info[KEY])  # type: ignore[index]
            image.verify()  # the checksum of every chunk
        record = Record(**{**content, "shared": tuple(content["shared"])})
    # The last is Pillow's word on a broken PNG.
    except (OSError, KeyError, ValueError, TypeError, RecursionError, SyntaxError):
        return None
    return record if record.fingerprint == fingerprint else None

"""Images made elsewhere, with their times: a small table of method, file, prompt, seed, seconds and device."""

import csv
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lua_lightning.errors import UserError, first_line
from lua_lightning.pictures import UnusableImage, read_image

NEEDED = ("method", "file", "prompt", "seed", "seconds", "device")


@dataclass(frozen=True)
class Brought:
    """One image that another tool made."""

    method: str
    """Name of its row."""
    file: Path
    """The image."""
    prompt: int
    """Number of the prompt, from 0."""
    seed: int
    """Seed that made it."""
    seconds: float
    """What making it took, from the prompt to the image."""
    device: str
    """What it was made on."""
    memory_mib: float | None = None
    """Peak memory, where it was measured."""


def read_manifest(path: Path, prompts: int, side: int = 1) -> dict[str, tuple[Brought, ...]]:
    """Return the images of a manifest by method, in the order of prompts.

    Args:
        path: A CSV file with a head, or a JSON list of objects: `method`, `file` (relative to the manifest), `prompt`,
            `seed`, `seconds`, `device`, and `memory_mib` where known.
        prompts: How many prompts there are; images of others are left out.
        side: Pixels that an image's shorter side has at least.

    Raises:
        UserError: The manifest cannot be read, lacks something, names a prompt of a method twice, or an image cannot
            be used.
    """
    found: dict[str, dict[int, Brought]] = {}
    for number, entry in enumerate(_entries(path), 1):
        image = _brought(entry, path, number)
        if image.prompt >= prompts:
            continue
        if image.prompt in found.setdefault(image.method, {}):
            raise UserError(f"{path}, entry {number}: {image.method} has prompt {image.prompt} twice: leave one out")
        _check_image(image, path, number, side)
        found[image.method][image.prompt] = image
    if not any(found.values()):
        raise UserError(f"{path} has no image of the {prompts} prompts: number them from 0")
    return {name: tuple(images[index] for index in sorted(images)) for name, images in found.items() if images}


def _entries(path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise UserError(f"{path} cannot be read as a manifest ({first_line(error)}): give CSV or JSON") from error
    if not isinstance(content, list) or not content or not all(isinstance(entry, dict) for entry in content):
        raise UserError(f"{path} is no list of images: give one entry an image, with {', '.join(NEEDED)}")
    return content


def _brought(entry: Mapping[str, Any], path: Path, number: int) -> Brought:
    where = f"{path}, entry {number}"
    for key in NEEDED:
        if entry.get(key) in (None, ""):
            raise UserError(f"{where} has no {key}: each image needs {', '.join(NEEDED)}")
    memory = entry.get("memory_mib")
    return Brought(
        str(entry["method"]),
        path.parent / str(entry["file"]),
        int(_number(entry["prompt"], "prompt", where, whole=True)),
        int(_number(entry["seed"], "seed", where, whole=True)),
        _number(entry["seconds"], "seconds", where),
        str(entry["device"]),
        None if memory in (None, "") else _number(memory, "memory_mib", where),
    )


def _number(value: Any, key: str, where: str, whole: bool = False) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found) or found < 0 or (whole and found != int(found)):
        kind = "a whole number from 0 on" if whole else "a number from 0 on"
        raise UserError(f"{where}: {key} is {value!r} and must be {kind}")
    return found


def _check_image(image: Brought, path: Path, number: int, side: int) -> None:
    try:
        shorter = min(read_image(image.file).shape[:2])
    except (UnusableImage, OSError) as error:
        raise UserError(f"{path}, entry {number}: {first_line(error)}: mend the file or leave it out") from error
    if shorter < side:
        raise UserError(f"{path}, entry {number}: {image.file} has a side of {shorter} px, and {side} px are compared")


def cost_of(images: Sequence[Brought]) -> dict[str, Any]:
    """Return the seconds, their spread, the memory where it is known, the device and the seeds of a row."""
    seconds = [image.seconds for image in images]
    memory = [image.memory_mib for image in images if image.memory_mib is not None]
    return {
        "seconds": {"total": statistics.median(seconds)},
        "seconds_spread": {"low": min(seconds), "high": max(seconds)},
        **({"peak_memory_mib": max(memory)} if memory else {}),
        "device": ", ".join(dict.fromkeys(image.device for image in images)),
        "seeds": [image.seed for image in images],
        "prompts": [image.prompt for image in images],
    }

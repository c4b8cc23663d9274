"""Recipe `folder`: the user's own images, in any format that Pillow reads."""

import argparse
import hashlib
from collections import Counter
from pathlib import Path
from typing import IO, Any

from PIL import ExifTags, Image

from data.candidates import Candidate, Harvest
from lua_lightning.errors import UserError
from lua_lightning.pairs.photos import Skipped
from lua_lightning.pictures import readable_suffixes

UNKNOWN = "unknown (user's own)"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add which folder, and the licence of what is in it."""
    parser.add_argument("path", type=Path, help="folder of images, searched with all its subfolders")
    parser.add_argument(
        "--licence", help=f"licence of all its images, which model cards name, such as CC0-1.0 (default: {UNKNOWN})"
    )


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the folder and a fingerprint of what lies in it, so that new or changed images are noticed.

    Raises:
        UserError: There is no such folder, or it and `--out` lie inside one another.
    """
    root, out = options.path.expanduser().resolve(), options.out.resolve()
    if not root.is_dir():
        raise UserError(f"{options.path} is not a folder")
    if out == root or root in out.parents or out in root.parents:
        raise UserError(f"--out {options.out} and {options.path} lie inside one another: give --out a folder elsewhere")
    digest = hashlib.sha256()
    for path in _files(root):
        facts = path.stat()
        digest.update(
            f"{path.relative_to(root)}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="surrogateescape")
        )
    licence = {"licence": options.licence} if options.licence else {}
    return {"path": str(root), "listing": digest.hexdigest(), **licence}


def collect(options: argparse.Namespace, work: Path) -> Harvest:
    """List the folder's images; files without an image suffix are counted among what is left out."""
    root = options.path.expanduser().resolve()
    suffixes = readable_suffixes()
    harvest = Harvest()
    others: Counter[str] = Counter()
    for path in _files(root):
        if path.suffix.lower() in suffixes:
            source = f"folder:{path.relative_to(root).as_posix()}"
            licence = options.licence or UNKNOWN
            harvest.candidates.append(Candidate(path, source, licence, picture_author(path)))
        else:
            others[path.suffix.lower()] += 1
    for suffix, count in others.most_common():
        harvest.skipped.append(Skipped(f"folder:*{suffix}", f"no image suffix: {count} files"))
    return harvest


def picture_author(picture: Path | IO[bytes]) -> str | None:
    """Return the author that a picture's EXIF data names; None where there is none, or no picture."""
    try:
        with Image.open(picture) as image:
            name = image.getexif().get(ExifTags.Base.Artist)
    except Exception:  # a damaged file raises almost anything; it is judged when its pixels are read
        return None
    text = " ".join(name.replace("\0", " ").split()) if isinstance(name, str) else ""
    return text or None


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())

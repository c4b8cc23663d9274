"""Recipe `webdataset`: the pictures in WebDataset's tar files, which are read where they lie."""

import argparse
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

from data.candidates import Candidate, Harvest
from data.folder import picture_author
from lua_lightning.errors import UserError, first_line
from lua_lightning.pairs.photos import Skipped
from lua_lightning.pairs.places import Place
from lua_lightning.pictures import readable_suffixes

LICENCE = "not stated by the archive"
HEAD = 1 << 16  # bytes of a picture that hold its EXIF data


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add which tar files."""
    parser.add_argument("shards", type=Path, nargs="+", help="tar files, such as shards/*.tar; they must stay there")


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the tar files and a fingerprint of their sizes and times, so that new or changed ones are noticed.

    Raises:
        UserError: One is missing.
    """
    digest = hashlib.sha256()
    for path in _paths(options):
        if not path.is_file():
            raise UserError(f"{path} is no file: name the tar files of a WebDataset")
        facts = path.stat()
        digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return {"shards": [str(path) for path in _paths(options)], "listing": digest.hexdigest()}


def collect(options: argparse.Namespace, work: Path) -> Harvest:
    """List the pictures of every tar file by where their bytes begin; captions and other fields are passed over.

    Raises:
        UserError: A file is no tar file, or is compressed, so that no byte of it can be read by itself.
    """
    harvest, suffixes = Harvest(), readable_suffixes()
    for path in _paths(options):
        found = []
        try:
            # "r:" alone takes no compressed file.
            with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if member.isfile() and _field(member.name) in suffixes:
                        file.seek(member.offset_data)
                        author = picture_author(io.BytesIO(file.read(min(HEAD, member.size))))
                        found.append(_candidate(path, member, author))
        except (OSError, tarfile.TarError) as error:
            raise UserError(
                f"{path} cannot be read as a tar file without compression ({first_line(error)}): leave it out, or "
                "unpack what compresses it"
            ) from error
        if not found:
            harvest.skipped.append(Skipped(f"webdataset:{path.name}", "no pictures: none of its files is one"))
        harvest.candidates += found
    return harvest


def _paths(options: argparse.Namespace) -> list[Path]:
    return list(dict.fromkeys(path.expanduser().resolve() for path in options.shards))


def _field(name: str) -> str:
    """Return what a member is of its sample: everything behind the first dot, which WebDataset calls the field."""
    return "." + name.rpartition("/")[2].partition(".")[2].lower()


def _candidate(path: Path, member: tarfile.TarInfo, author: str | None) -> Candidate:
    key = member.name.rpartition(".")[0]
    return Candidate(
        path=Path(path.name, member.name),
        source=f"webdataset:{path.name}/{member.name}",
        licence=LICENCE,
        author=author,
        name=f"{path.stem}-{key}",
        place=Place(str(path), member.offset_data, member.size),
    )

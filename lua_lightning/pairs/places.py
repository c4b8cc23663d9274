"""Photographs that stay where they are: in tar files, as WebDataset has them, or in a Hugging Face data set on disk."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lua_lightning.errors import UserError, first_line
from lua_lightning.pictures import UnusableImage


@dataclass(frozen=True)
class Place:
    """Where a photograph lies that is no file of its own."""

    archive: str
    """Absolute path of a tar file, or of the folder of a data set that its `save_to_disk` wrote."""
    start: int
    """First byte of the picture in the tar file; its row in the data set."""
    length: int = 0
    """Bytes of the picture in the tar file."""
    column: str | None = None
    """Column of the data set that holds pictures; None for a tar file."""

    def __str__(self) -> str:
        return f"{self.archive} (row {self.start})" if self.column else f"{self.archive} (byte {self.start})"

    def read(self) -> bytes:
        """Return the picture's file as it was stored.

        Raises:
            UnusableImage: The archive cannot be read, or holds no picture there.
        """
        path = Path(self.archive)
        try:
            if self.column is None:
                with path.open("rb") as file:
                    file.seek(self.start)
                    content = file.read(self.length)
            else:
                content = _of_row(rows_of(self.archive, self.column)[self.start][self.column])
        except (OSError, IndexError) as error:
            raise UnusableImage(path, f"cannot be read: {first_line(error)}") from error
        if not content or (self.column is None and len(content) < self.length):
            raise UnusableImage(path, f"holds no picture at {'row' if self.column else 'byte'} {self.start}")
        return content


@lru_cache(maxsize=8)
def rows_of(folder: str, column: str) -> Any:
    """Return the rows of a data set that `save_to_disk` wrote, mapped into memory, its pictures not decoded.

    Raises:
        UserError: The package is missing, or the folder holds no such data set or column of pictures.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError("photographs in a data set need the package datasets: pip install datasets") from error
    mend = "a data set's save_to_disk(FOLDER) writes one"
    try:
        rows = datasets.load_from_disk(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is no data set on disk ({first_line(error)}): {mend}") from error
    if isinstance(rows, datasets.DatasetDict):
        raise UserError(f"{folder} holds several splits ({', '.join(map(str, rows))}): name one of them")
    if column not in rows.column_names:
        raise UserError(f"{folder} has no column {column!r}, its columns: {', '.join(rows.column_names)}")
    if not isinstance(rows.features[column], datasets.Image):
        raise UserError(f"the column {column!r} of {folder} holds no pictures")
    return rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _of_row(picture: dict[str, Any] | None) -> bytes | None:
    """Return the file of a row, which lies in the row itself or behind its path."""
    if picture is None:
        return None
    if picture["bytes"] is not None:
        return picture["bytes"]
    return Path(picture["path"]).read_bytes()


def placed_sha256(source_sha256: str, width: int, height: int, reduced: bool) -> str:
    """Return what tells a photograph's pixels apart: the hash of its file and, where it is reduced, of its size too."""
    if not reduced:
        return source_sha256
    return hashlib.sha256(f"{source_sha256} {width}x{height}".encode()).hexdigest()

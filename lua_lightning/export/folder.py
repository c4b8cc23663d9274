"""The folder of an export: made beside its place, and moved there when it is whole and checked."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import lua_lightning
from lua_lightning.errors import UserError, first_line

LICENSE = "LICENSE"


def refuse_taken(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds something already.

    Raises:
        UserError: It does, and may not be written over; or it is a file.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"--out {folder} is a file: give a folder")
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--out {folder} is not empty: give another folder, or --overwrite to replace files there")


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; its files go there when the block ends without an error.

    Files of `folder` that the export has no file for stay.

    Raises:
        UserError: The files cannot be written.
    """
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise UserError(f"--out {folder} cannot be made ({error.strerror or first_line(error)})") from error
    try:
        yield stage
        for path in sorted(path for path in stage.rglob("*") if path.is_file()):
            target = folder / path.relative_to(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    except OSError as error:
        raise UserError(f"--out {folder} cannot be written ({error.strerror or first_line(error)})") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def licence_text() -> str:
    """Return the licence of this project's code, which goes with every export."""
    try:
        text = distribution("lua-lightning").read_text(f"licenses/{LICENSE}")
    except PackageNotFoundError:
        text = None
    return text or (Path(lua_lightning.__file__).parents[1] / LICENSE).read_text(encoding="utf-8")

"""Where commands write: every place is checked before the first second of work, and no file of the user is replaced."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lua_lightning.errors import UserError, first_line


def check_writable(place: Path, option: str) -> None:
    """Refuse a file or folder that cannot be made, because of what is there already or may not be written to.

    Args:
        place: The file or folder; it need not be there, nor the folders above it.
        option: What the user named it by, such as `--output`.

    Raises:
        UserError: Something on the way is a file, or the nearest folder takes no new file.
    """
    folder = place if place.is_dir() else place.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"{option} {place} cannot be made: {folder} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise UserError(f"{option} {place} cannot be made: {folder} takes no files ({reason})") from error


def free_bytes(place: Path) -> int:
    """Return how many bytes the disk of a file or folder has left; it need not be there yet."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def existing(places: Sequence[Path]) -> list[Path]:
    """Return those of the files that are there already; also a link that leads nowhere."""
    return [place for place in places if os.path.lexists(place)]


def refuse_existing(places: Sequence[Path], mend: str) -> None:
    """Refuse to replace a file.

    Raises:
        UserError: One is there already; the sentence names it and ends with `mend`.
    """
    found = existing(places)
    if found:
        more = f" and {len(found) - 1} more files are" if len(found) > 1 else " is"
        raise UserError(f"{found[0]}{more} there already: {mend}")


def free_name(place: Path) -> Path:
    """Return `place`, or the first of `name-2.png`, `name-3.png`, ... that is not there."""
    number, free = 1, place
    while os.path.lexists(free):
        number += 1
        free = place.with_name(f"{place.stem}-{number}{place.suffix}")
    return free


def distinct_names(sources: Sequence[Path], ending: str) -> list[Path]:
    """Return a relative output path for each relative input path, no two alike, also where capitals do not count.

    `IMG_1.jpg` becomes `IMG_1` + `ending`; inputs of the same stem keep their suffix, `a.png` and `a.jpg` become
    `a.png` + `ending` and `a.jpg` + `ending`.
    """
    stems = Counter(_key(source.with_suffix("")) for source in sources)
    taken: set[str] = set()
    names = []
    for source in sources:
        base = source.stem if stems[_key(source.with_suffix(""))] == 1 else source.name
        name, number = source.with_name(f"{base}{ending}"), 1
        while _key(name) in taken:
            number += 1
            name = source.with_name(f"{base}-{number}{ending}")
        taken.add(_key(name))
        names.append(name)
    return names


def _key(path: Path) -> str:
    return str(path).casefold()

"""The photo set: a folder of PNG files and `manifest.json`, made by `python -m data` and read by the library."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any, Literal, get_args

import numpy as np

from lua_lightning.checkout import of_checkout
from lua_lightning.errors import UserError
from lua_lightning.files import write_text
from lua_lightning.pairs.places import Place
from lua_lightning.pictures import read_image, read_picture

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Photo:
    """One stored photograph.

    Attributes:
        file: Path of the stored PNG, relative to the set's folder.
        source: Where the original is from, such as `debian:mate-backgrounds_1.26.0-1/usr/share/backgrounds/...`.
        licence: SPDX identifier or a sentence.
        author: Who made it, where known.
        sha256: Hash of the stored file.
        source_sha256: Hash of the original's bytes; it decides the split.
        width: Pixels of the stored file.
        height: Pixels of the stored file.
        split: `train`; `val`, watched during training and used to choose settings; or `test`, for reported numbers.
        reduced_by: Original side / stored side; 1.0 where the photograph was sharp enough as it came.
        softness: PSNR in dB that bicubic alone reaches on the stored file's most detailed quarter; lower is sharper.
        place: Where the original lies that is read, and reduced, anew each time; None where a PNG is stored. `file` is
            a name then, and `sha256` the hash of the original and of the size that it is reduced to.
    """

    file: str
    source: str
    licence: str
    author: str | None
    sha256: str
    source_sha256: str
    width: int
    height: int
    split: Split
    reduced_by: float
    softness: float
    place: Place | None = None

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "Photo":
        """Return what an entry of a manifest describes."""
        given = {"place": None, **facts}
        return cls(**{**given, "place": given["place"] and Place(**given["place"])})

    def entry(self) -> dict[str, Any]:
        """Return its entry in a manifest."""
        facts = asdict(self)
        return facts if self.place else {name: fact for name, fact in facts.items() if name != "place"}


@dataclass(frozen=True)
class Skipped:
    """An image that was found and not used, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class PhotoSet:
    """A folder of photographs with the facts about each, as `manifest.json` tells them.

    Attributes:
        folder: Where the set lies.
        recipe: Name of the recipe that really made it.
        settings: What the recipe was asked for.
        photos: The photographs, in the order of their file names.
        skipped: What the recipe found and left out.
    """

    folder: Path
    recipe: str
    settings: dict[str, Any]
    photos: tuple[Photo, ...]
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def load(cls, folder: str | Path) -> "PhotoSet":
        """Return the set in `folder`.

        Raises:
            UserError: There is no manifest, it cannot be read or says what cannot be, a file it names is missing or
                outside the folder, or a split is empty.
        """
        folder = Path(folder)
        mend = f"make one with {of_checkout(f'python -m data photos --out {folder}')}"
        manifest = folder / MANIFEST_NAME
        if not manifest.is_file():
            raise UserError(f"{folder} has no {MANIFEST_NAME}, so it is not a photo set: {mend}")
        try:
            content = json.loads(manifest.read_text(encoding="utf-8"))
            version = content["format_version"]
            if version != FORMAT_VERSION:
                raise UserError(f"{manifest} has format version {version}, this code reads {FORMAT_VERSION}: {mend}")
            photos = tuple(Photo.of(photo) for photo in content["images"])
            skipped = tuple(Skipped(**image) for image in content["skipped"])
            found = cls(folder, content["recipe"], content["settings"], photos, skipped)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{manifest} cannot be read as a photo set's manifest ({error!r}): {mend}") from error
        names = Counter(photo.file for photo in photos if isinstance(photo.file, str))
        for number, photo in enumerate(photos, 1):
            wrong = _problem(photo) or (f"the file {photo.file} twice" if names[photo.file] > 1 else None)
            if wrong:
                raise UserError(f"{manifest} has {wrong} (image {number}): {_again(found)}")
            if photo.place is None and not found.path(photo).is_file():
                raise UserError(f"{found.path(photo)} is missing, though {manifest} lists it: {_again(found)}")
        for archive in sorted({photo.place.archive for photo in photos if photo.place}):
            if not Path(archive).exists():
                raise UserError(f"{archive} is missing, where {manifest} says that photographs lie: {_again(found)}")
        for split in ("train", "val"):
            if not found.split(split):
                raise UserError(f"{folder} has no photograph in its split {split!r}: {_again(found)} and more images")
        return found

    def save(self) -> None:
        """Write `manifest.json`."""
        content = {
            "format_version": FORMAT_VERSION,
            "recipe": self.recipe,
            "settings": self.settings,
            "images": [photo.entry() for photo in self.photos],
            "skipped": [asdict(image) for image in self.skipped],
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        # A file name that is no text keeps its bytes as escapes, which are JSON's own.
        write_text(self.folder / MANIFEST_NAME, text.encode("utf-8", "backslashreplace").decode("utf-8"))

    def path(self, photo: Photo) -> Path:
        """Return where `photo` is stored, or what errors call it where it lies elsewhere."""
        return self.folder / photo.file

    def read(self, photo: Photo) -> np.ndarray:
        """Return a photograph as uint8 RGB, (height, width, 3).

        Raises:
            UserError: The file cannot be read, has another size than the manifest says, or has changed where it lies.
        """
        image = self._read_in_place(photo, photo.place) if photo.place else read_image(self.path(photo))
        if image.shape[:2] != (photo.height, photo.width):
            height, width = image.shape[:2]
            raise UserError(
                f"{self.path(photo)} has {width}x{height} pixels, and {MANIFEST_NAME} says {photo.width}x"
                f"{photo.height}: {_again(self)}"
            )
        return image

    def _read_in_place(self, photo: Photo, place: Place) -> np.ndarray:
        """Return what the PNG file would hold if there was one: the original, reduced where it was not sharp."""
        content = place.read()
        if hashlib.sha256(content).hexdigest() != photo.source_sha256:
            raise UserError(f"{place} is not the picture that {MANIFEST_NAME} describes: {_again(self)}")
        image = read_picture(self.path(photo), content).on_white()
        if photo.reduced_by == 1:
            return image
        from lua_lightning.images import (
            resize,
            to_tensor,
            to_uint8,
        )  # a manifest alone need not wait for PyTorch

        return to_uint8(resize(to_tensor(image), (photo.height, photo.width)))

    def split(self, name: Split) -> tuple[Photo, ...]:
        """Return the photographs of one split."""
        return tuple(photo for photo in self.photos if photo.split == name)

    @property
    def sha256(self) -> str:
        """Hash of what determines training, the stored files and their splits, whatever their names and order."""
        lines = sorted(f"{photo.split} {photo.sha256}\n" for photo in self.photos)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def verify(self) -> None:
        """Compare every stored file with its hash.

        Raises:
            UserError: A file is missing or differs; the sentence names it.
        """
        for photo in self.photos:
            if photo.place:
                self._read_in_place(photo, photo.place)
                continue
            path = self.path(photo)
            if not path.is_file() or file_sha256(path) != photo.sha256:
                raise UserError(f"{path} is not the file that {MANIFEST_NAME} describes: {_again(self)}")


def _problem(photo: Photo) -> str | None:
    """Return what a manifest says of a photograph that cannot be, None where all of it can."""
    texts = ("file", "source", "licence", "sha256", "source_sha256")
    for name in texts:
        if not isinstance(getattr(photo, name), str):
            return f"a {name} that is no text"
    if not isinstance(photo.author, str | None):
        return "an author who is no text"
    path = PurePath(photo.file)
    if path.is_absolute() or ".." in path.parts or not path.parts or PureWindowsPath(photo.file).drive:
        return f"the file {photo.file!r}, which is not inside its folder"
    for name in ("width", "height"):
        value = getattr(photo, name)
        if type(value) is not int or value < 1:
            return f"the {name} {value!r}, which is no number of pixels"
    for name in ("reduced_by", "softness"):
        value = getattr(photo, name)
        if type(value) not in (int, float) or not math.isfinite(value):
            return f"a {name} that is no number"
    place = photo.place
    if place and not (isinstance(place.archive, str) and type(place.start) is type(place.length) is int):
        return f"the place {place!r}, which is none"
    if photo.split not in get_args(Split):
        return f"the split {photo.split!r}, which is none of {', '.join(get_args(Split))}"
    return None


def _again(photo_set: PhotoSet) -> str:
    command = f"python -m data {photo_set.recipe} --out {photo_set.folder} --force"
    return f"make the set again with {of_checkout(command)}"


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def split_by_hash(originals: list[tuple[str, float]], val_fraction: float, test_fraction: float) -> list[Split]:
    """Return the split of each original, decided by its hash among those that are about as soft.

    The shares are exact and every split holds sharp and soft photographs alike: of 34, a cut at fixed hash values
    would hold out anything from 4 to 15, and five drawn from all of them can be the five softest. The price is that
    a photograph can change sides when others join the set; a set that is made keeps its splits in its manifest.

    Args:
        originals: Hash of the original's bytes and softness of the stored photograph, in any order, near-duplicates
            already removed.
        val_fraction: Share of `val`; at least one image, and one is left to train on.
        test_fraction: Share of `test`; at least one image where there are three.

    Raises:
        UserError: Fewer than two images, so that `train` or `val` must stay empty.
    """
    count = len(originals)
    if count < 2:
        raise UserError(f"at least 2 images are needed, to train on one and hold out the other; there are {count}")
    val = min(max(round(count * val_fraction), 1), count - 1)
    test = min(max(round(count * test_fraction), 1), count - 1 - val)
    rest = sorted(range(count), key=lambda index: (originals[index][1], originals[index][0]))
    splits: list[Split] = ["train"] * count
    held_out: list[tuple[Split, int, Callable]] = [("val", val, min), ("test", test, max)]
    for split, share, first in held_out:
        bounds = [len(rest) * part // max(share, 1) for part in range(share + 1)]
        for start, end in pairwise(bounds):
            splits[first(rest[start:end], key=lambda index: originals[index][0])] = split
        rest = [index for index in rest if splits[index] == "train"]
    return splits

"""What a recipe brings before anything is looked at: files on disk, and where each is from."""

from dataclasses import dataclass, field
from pathlib import Path

from lua_lightning.errors import UserError
from lua_lightning.pairs.photos import Photo, Skipped
from lua_lightning.pairs.places import Place


class Unreachable(UserError):
    """The place a recipe fetches from cannot be reached; the message is the reason, without a full stop."""


@dataclass(frozen=True)
class Candidate:
    """An original image on disk.

    Attributes:
        path: The file.
        source: Where it is from, in words that outlive the file.
        licence: SPDX identifier or a sentence.
        author: Who made it, where known.
        name: What to call the stored file, where the original's own name says little.
        stored: What a photo set knows of the file, where it comes from one: it is stored as it is, in the same split.
        place: Where it lies inside an archive, in which it stays; `path` is only its name then.
    """

    path: Path
    source: str
    licence: str
    author: str | None = None
    name: str | None = None
    stored: Photo | None = None
    place: Place | None = None


@dataclass
class Harvest:
    """Everything that a recipe found: the candidates, and what it already had to leave out."""

    candidates: list[Candidate] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def __add__(self, other: "Harvest") -> "Harvest":
        return Harvest(self.candidates + other.candidates, self.skipped + other.skipped)


@dataclass(frozen=True)
class Sharpness:
    """How small a photograph may be, and how soft (`softness` of `data.prepare`, in dB: high is soft).

    Attributes:
        min_side: Smallest short side, in pixels, that an original may have and that reducing may leave.
        target_softness: A photograph is reduced until its softness is at most this.
        max_softness: A photograph that stays softer than this is left out: bicubic alone would do as well.
    """

    min_side: int = 800
    target_softness: float = 30.0
    max_softness: float = 44.0

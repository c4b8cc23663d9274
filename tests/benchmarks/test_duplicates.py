"""Perceptual hashes: near-duplicates are found, unrelated photographs are not."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut, chelsea, coffee, rocket

from benchmarks.duplicates import NEAR, difference_hash, near_duplicates
from lua_lightning.pairs.photos import PhotoSet, file_sha256
from tests.conftest import write_photo_set

PHOTOS = [photo[:300, :300] for photo in (astronaut(), chelsea(), coffee(), rocket())]


def changed(pixels, kind):
    image = Image.fromarray(pixels)
    if kind == "smaller":
        return np.asarray(image.resize((140, 140), Image.Resampling.BICUBIC))
    if kind == "jpeg":
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=30)
        return np.asarray(Image.open(buffer))
    return (pixels * 0.8 + 10).astype(np.uint8)


def test_a_bit_says_whether_a_value_exceeds_the_one_before():
    reduced = np.asarray(Image.fromarray(PHOTOS[0]).convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    bits = iter(difference_hash(PHOTOS[0]))
    for row in range(8):
        for column in range(8):
            assert next(bits) == (reduced[row, column + 1] > reduced[row, column])


@pytest.mark.parametrize("kind", ["smaller", "jpeg", "darker"])
def test_a_copy_is_near_and_another_photograph_is_not(kind):
    for number, photo in enumerate(PHOTOS):
        distances = [(difference_hash(changed(photo, kind)) != difference_hash(other)).sum() for other in PHOTOS]
        assert distances.pop(number) <= NEAR
        assert min(distances) > NEAR


def test_copies_between_the_splits_are_named(tmp_path, monkeypatch):
    folder = write_photo_set(tmp_path / "photos", ["train", "train", "val", "test", "test"], size=300)
    pixels = [PHOTOS[0], PHOTOS[1], PHOTOS[2], PHOTOS[3], np.ascontiguousarray(changed(PHOTOS[1], "jpeg")[:, ::-1])]
    manifest = json.loads((folder / "manifest.json").read_text())
    for image, array in zip(manifest["images"], pixels, strict=True):
        Image.fromarray(array).save(folder / image["file"])
        image["sha256"] = file_sha256(folder / image["file"])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    photos = PhotoSet.load(folder)
    found = near_duplicates(photos, tmp_path / "cache")
    assert (found["train"], found["judged"], found["near"]) == (2, 2, 1)
    assert found["pairs"] == [{"train": "images/1.png", "judged": "images/4.png", "bits": found["closest"]}]
    monkeypatch.setattr(PhotoSet, "read", lambda *args: pytest.fail("hashed twice"))
    assert near_duplicates(photos, tmp_path / "cache") == found

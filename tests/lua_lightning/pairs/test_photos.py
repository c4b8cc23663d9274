"""The photo set's contract: what `load` refuses, what the hash depends on, how originals are split."""

import dataclasses
import hashlib
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from lua_lightning.errors import UserError
from lua_lightning.images import write_image
from lua_lightning.pairs.photos import Photo, PhotoSet, Skipped, Split, split_by_hash


def photo(folder: Path, file: str, split: Split) -> Photo:
    write_image(folder / file, np.full((4, 6, 3), len(file), dtype=np.uint8))
    sha256 = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    source = f"folder:{file}"
    return Photo(
        file, source, "CC0-1.0", None, sha256, hashlib.sha256(file.encode()).hexdigest(), 6, 4, split, 1.0, 25.0
    )


@pytest.fixture
def saved(tmp_path: Path) -> PhotoSet:
    photos = (photo(tmp_path, "a.png", "train"), photo(tmp_path, "bb.png", "val"), photo(tmp_path, "ccc.png", "train"))
    photo_set = PhotoSet(tmp_path, "folder", {"min_side": 4}, photos, (Skipped("folder:x", "too small: 1x1"),))
    photo_set.save()
    return photo_set


def test_load_gives_back_what_was_saved(saved: PhotoSet):
    loaded = PhotoSet.load(saved.folder)
    assert loaded == saved
    assert [photo.file for photo in loaded.split("train")] == ["a.png", "ccc.png"]
    assert [photo.file for photo in loaded.split("val")] == ["bb.png"]
    loaded.verify()


def test_folder_without_manifest_names_the_command(tmp_path: Path):
    with pytest.raises(UserError, match=r"has no manifest\.json.*python -m data photos --out "):
        PhotoSet.load(tmp_path / "nothing")


def test_missing_file_is_named(saved: PhotoSet):
    (saved.folder / "bb.png").unlink()
    with pytest.raises(UserError, match=r"bb\.png is missing.*--force"):
        PhotoSet.load(saved.folder)


def edit(saved: PhotoSet, **changes: object) -> None:
    manifest = saved.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))


def test_other_format_version_is_refused(saved: PhotoSet):
    edit(saved, format_version=99)
    with pytest.raises(UserError, match="format version 99, this code reads 1"):
        PhotoSet.load(saved.folder)


@pytest.mark.parametrize("images", [[{"file": "a.png"}], "no list", None])
def test_damaged_manifest_is_refused(saved: PhotoSet, images: object):
    edit(saved, images=images)
    with pytest.raises(UserError, match="cannot be read as a photo set's manifest"):
        PhotoSet.load(saved.folder)
    (saved.folder / "manifest.json").write_text('{"format_version": ')
    with pytest.raises(UserError, match="cannot be read as a photo set's manifest"):
        PhotoSet.load(saved.folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("file", "/etc/hosts", "is not inside its folder"),
        ("file", "../other/a.png", "is not inside its folder"),
        ("file", "below/../../a.png", "is not inside its folder"),
        ("file", "C:\\a.png", "is not inside its folder"),
        ("file", "", "is not inside its folder"),
        ("file", 3, "a file that is no text"),
        ("file", "bb.png", "the file bb.png twice"),
        ("author", 3, "an author who is no text"),
        ("width", 0, "the width 0, which is no number of pixels"),
        ("width", True, "the width True, which is no number of pixels"),
        ("height", "4", "the height '4', which is no number of pixels"),
        ("softness", "soft", "a softness that is no number"),
        ("reduced_by", float("nan"), "a reduced_by that is no number"),
        ("split", "training", "the split 'training', which is none of train, val, test"),
        ("split", ["val"], "which is none of train, val, test"),
    ],
)
def test_what_a_manifest_cannot_say_is_refused(saved: PhotoSet, field: str, value: object, message: str):
    content = json.loads((saved.folder / "manifest.json").read_text())
    content["images"][0][field] = value
    (saved.folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        PhotoSet.load(saved.folder)
    assert "manifest.json" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_manifest_that_lies_about_a_size_is_noticed_where_the_photograph_is_read(saved: PhotoSet):
    found = PhotoSet.load(saved.folder)
    assert found.read(found.photos[0]).shape == (4, 6, 3)
    larger = dataclasses.replace(found.photos[0], width=12)
    with pytest.raises(UserError, match=r"a\.png has 6x4 pixels, and manifest\.json says 12x4: make the set again"):
        found.read(larger)


def test_a_manifest_nested_without_end_is_refused(saved: PhotoSet):
    (saved.folder / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="cannot be read as a photo set's manifest"):
        PhotoSet.load(saved.folder)


def test_empty_split_is_refused(saved: PhotoSet):
    dataclasses.replace(saved, photos=saved.split("train")).save()
    with pytest.raises(UserError, match="no photograph in its split 'val'"):
        PhotoSet.load(saved.folder)


def test_verify_notices_one_changed_byte(saved: PhotoSet):
    content = bytearray((saved.folder / "ccc.png").read_bytes())
    content[-20] ^= 1
    (saved.folder / "ccc.png").write_bytes(content)
    with pytest.raises(UserError, match=r"ccc\.png is not the file that manifest\.json describes"):
        PhotoSet.load(saved.folder).verify()


def test_hash_depends_on_files_and_splits_alone(saved: PhotoSet):
    def with_photos(*photos: Photo) -> PhotoSet:
        return dataclasses.replace(saved, photos=photos)

    first, second, third = saved.photos
    assert with_photos(third, first, second).sha256 == saved.sha256
    assert with_photos(dataclasses.replace(first, file="z.png", author="A"), second, third).sha256 == saved.sha256
    assert with_photos(dataclasses.replace(first, split="val"), second, third).sha256 != saved.sha256
    assert with_photos(dataclasses.replace(first, sha256="0" * 64), second, third).sha256 != saved.sha256
    assert with_photos(second, third).sha256 != saved.sha256


ORIGINALS = [(hashlib.sha256(str(number).encode()).hexdigest(), 25.0 + number % 7) for number in range(41)]


@pytest.mark.parametrize(
    ("val_fraction", "test_fraction", "val", "test"),
    [(0.25, 0.15, 10, 6), (0.5, 0.5, 20, 20), (0.001, 0.001, 1, 1), (0.999, 0.5, 40, 0)],
)
def test_split_holds_out_the_exact_shares_but_never_all(val_fraction, test_fraction, val, test):
    splits = split_by_hash(ORIGINALS, val_fraction, test_fraction)
    assert (splits.count("val"), splits.count("test")) == (val, test)
    assert splits.count("train") == 41 - val - test


def test_two_images_leave_none_to_test_on():
    assert sorted(split_by_hash(ORIGINALS[:2], 0.15, 0.15)) == ["train", "val"]
    assert sorted(split_by_hash(ORIGINALS[:3], 0.15, 0.15)) == ["test", "train", "val"]


def test_every_split_holds_soft_and_sharp_photographs():
    originals = [(hashlib.sha256(str(number).encode()).hexdigest(), float(number)) for number in range(60)]
    for name in ("val", "test"):
        splits = split_by_hash(originals, 0.1, 0.1)
        held_out = [softness for (_, softness), split in zip(originals, splits, strict=True) if split == name]
        assert [int(softness // 20) for softness in held_out] == [0, 0, 1, 1, 2, 2]


def test_split_does_not_depend_on_order():
    expected = dict(zip(ORIGINALS, split_by_hash(ORIGINALS, 0.3, 0.2), strict=True))
    shuffled = random.Random(0).sample(ORIGINALS, len(ORIGINALS))
    assert dict(zip(shuffled, split_by_hash(shuffled, 0.3, 0.2), strict=True)) == expected


def test_one_image_cannot_be_split():
    with pytest.raises(UserError, match="at least 2 images"):
        split_by_hash(ORIGINALS[:1], 0.5, 0.5)

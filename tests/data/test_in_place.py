"""Photographs in WebDataset's tar files and in data sets on disk: read where they lie, as if they were stored."""

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import webdataset
from PIL import Image

from data.__main__ import main
from data.dead_leaves import dead_leaves
from lua_lightning.errors import UserError
from lua_lightning.images import downscale, to_tensor, to_uint8
from lua_lightning.pairs.cache import build_cache
from lua_lightning.pairs.photos import PhotoSet

SMALL = ["--min-side", "64"]


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Pictures as files: one soft, so that it is reduced, one that stands there twice."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(6):
        Image.fromarray(dead_leaves(128, seed)).save(folder / f"{seed}.png")
    soft = Image.fromarray(dead_leaves(128, 9)).resize((256, 256), Image.Resampling.BICUBIC)
    soft.save(folder / "soft.png")
    Image.fromarray(dead_leaves(128, 0)).save(folder / "twin.png", compress_level=1)
    return folder


@pytest.fixture
def shards(tmp_path, pictures) -> list[str]:
    """The same pictures in two tar files of WebDataset's own writer, with captions and masks."""
    (tmp_path / "shards").mkdir()
    with webdataset.ShardWriter(f"{tmp_path}/shards/part-%03d.tar", maxcount=5, verbose=0) as writer:
        for path in sorted(pictures.iterdir()):
            mask = (path.read_bytes(), "a picture")
            writer.write({"__key__": f"of/{path.stem}", "png": mask[0], "seg.png": mask[0], "txt": mask[1]})
    return sorted(map(str, (tmp_path / "shards").glob("*.tar")))


@pytest.fixture
def rows(tmp_path, pictures) -> Path:
    """The same pictures in a data set on disk, with an empty row."""
    found = [{"bytes": path.read_bytes(), "path": None} for path in sorted(pictures.iterdir())]
    features = datasets.Features({"photo": datasets.Image(decode=False)})
    table = datasets.Dataset.from_dict({"photo": [*found, None]}, features=features)
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "rows")
    return tmp_path / "rows"


def stored(pictures: Path, out: Path) -> PhotoSet:
    assert main(["folder", str(pictures), "--out", str(out), *SMALL]) == 0
    return PhotoSet.load(out)


def same(found: PhotoSet, expected: PhotoSet) -> None:
    """Compare a set in place with the stored one of the same pictures: splits, facts and pixels."""
    assert {photo.source_sha256 for photo in found.photos} == {photo.source_sha256 for photo in expected.photos}
    others = {photo.source_sha256: photo for photo in expected.photos}
    for photo in found.photos:
        other = others[photo.source_sha256]
        for name in ("split", "width", "height", "reduced_by", "softness"):
            assert getattr(photo, name) == getattr(other, name), name
        np.testing.assert_array_equal(found.read(photo), expected.read(other))
    assert any(photo.reduced_by > 1 for photo in found.photos)
    assert [image.reason.partition(":")[0] for image in found.skipped].count("near-duplicate") == 1


def test_pictures_in_tar_files_are_the_pictures_of_the_folder(tmp_path, pictures, shards, capsys):
    expected = stored(pictures, tmp_path / "stored")
    assert main(["webdataset", *shards, "--out", str(tmp_path / "set"), *SMALL]) == 0
    found = PhotoSet.load(tmp_path / "set")
    same(found, expected)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["manifest.json"]  # no picture is written
    assert {photo.file for photo in found.photos} >= {"part-000-of-1.png", "part-001-of-soft.png"}
    keys = {photo.source.rpartition("/")[2] for photo in found.photos}
    assert not any("seg" in key for key in keys)
    samples = {sample["__key__"]: sample["png"] for sample in webdataset.WebDataset(shards, shardshuffle=False)}
    for photo in found.photos:
        assert photo.place is not None
        assert photo.place.read() == samples[photo.source.partition(".tar/")[2].removesuffix(".png")]
    capsys.readouterr()
    assert main(["webdataset", *shards, "--out", str(tmp_path / "set"), *SMALL]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_rows_of_a_data_set_are_the_pictures_of_the_folder(tmp_path, pictures, rows):
    expected = stored(pictures, tmp_path / "stored")
    assert main(["arrow", str(rows), "--column", "photo", "--out", str(tmp_path / "set"), *SMALL]) == 0
    found = PhotoSet.load(tmp_path / "set")
    same(found, expected)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["manifest.json"]
    assert "holds no picture at row 8" in {image.reason for image in found.skipped}


def test_a_cache_of_pictures_in_place_is_that_of_the_stored_ones(tmp_path, pictures, shards, codec, cache_config):
    config = replace(cache_config, crop_px=64, crops_per_photo=2, folder=str(tmp_path / "caches"))
    assert main(["webdataset", *shards, "--out", str(tmp_path / "set"), *SMALL]) == 0
    found = PhotoSet.load(tmp_path / "set")
    cache = build_cache(config, found, codec)
    assert cache.manifest["photos_sha256"] == found.sha256
    # What tells two caches apart is what the pixels are made of: a moved archive makes no other one.
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "shards", moved)
    manifest = tmp_path / "set" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f"{tmp_path}/shards/", f"{moved}/"))
    again = PhotoSet.load(tmp_path / "set")
    assert build_cache(config, again, codec).folder == cache.folder
    for photo in again.photos:
        whole = to_tensor(np.asarray(Image.open(pictures / f"{photo.source.rpartition('/')[2]}")))
        made = to_uint8(downscale(whole, photo.reduced_by))
        np.testing.assert_array_equal(again.read(photo), made)


def test_sets_in_place_are_joined_with_others(tmp_path, pictures, shards, photo_folder):
    assert main(["webdataset", *shards, "--out", str(tmp_path / "set"), *SMALL]) == 0
    both = [str(tmp_path / "set"), str(photo_folder)]
    assert main(["sets", *both, "--out", str(tmp_path / "both")]) == 0
    found, parts = PhotoSet.load(tmp_path / "both"), [PhotoSet.load(folder) for folder in both]
    known = {photo.sha256: (part, photo) for part in parts for photo in part.photos}
    assert {photo.place is None for photo in found.photos} == {True, False}
    for photo in found.photos:
        part, other = known[photo.sha256]
        assert (photo.split, photo.place) == (other.split, other.place)
        np.testing.assert_array_equal(found.read(photo), part.read(other))


def test_archives_that_changed_or_left_are_noticed(tmp_path, shards, capsys):
    out = tmp_path / "set"
    assert main(["webdataset", *shards, "--out", str(out), *SMALL]) == 0
    found = PhotoSet.load(out)
    first, place = next((p, p.place) for p in found.photos if p.place and p.place.archive == shards[0])
    content = bytearray(Path(shards[0]).read_bytes())
    content[place.start + 100] ^= 255
    Path(shards[0]).write_bytes(content)
    for check in (lambda: found.read(first), found.verify):
        with pytest.raises(UserError, match=r"is not the picture that manifest.json describes: make the set again"):
            check()
    Path(shards[0]).write_bytes(content[: place.start])
    with pytest.raises(UserError, match="holds no picture at byte"):
        found.read(first)
    Path(shards[0]).unlink()
    with pytest.raises(UserError, match=r"part-000\.tar is missing, where .* says that photographs lie"):
        PhotoSet.load(out)
    content = json.loads((out / "manifest.json").read_text())
    content["images"][0]["place"]["start"] = "here"
    (out / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="which is none"):
        PhotoSet.load(out)


def test_what_is_no_archive_is_told_in_a_sentence(tmp_path, shards, rows, capsys):
    compressed = tmp_path / "part.tar.gz"
    compressed.write_bytes(gzip.compress(Path(shards[0]).read_bytes()))
    (tmp_path / "text.tar").write_text("no archive " * 100)
    for arguments, said in (
        (["webdataset", compressed], "unpack what compresses it"),
        (["webdataset", tmp_path / "text.tar"], "text.tar cannot be read as a tar file"),
        (["webdataset", tmp_path / "none.tar"], "none.tar is no file"),
        (["arrow", tmp_path / "shards"], "is no data set on disk"),
        (["arrow", rows, "--split", "test"], "has no split 'test', its splits: train"),
        (["arrow", rows], "has no column 'image', its columns: photo"),
    ):
        assert main([*map(str, arguments), "--out", str(tmp_path / "out"), *SMALL]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()

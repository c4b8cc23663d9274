"""Recipes that fetch, each against a stand-in for the place it fetches from; nothing here needs a network."""

import importlib.util
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import debian, hub, packaged
from data.__main__ import main
from data.dead_leaves import dead_leaves
from lua_lightning.pairs.photos import PhotoSet

LEAVES = ["--count", "2", "--size", "256"]
APT_GET = """#!/bin/sh
for last; do :; done
echo "$last" >> "{folder}/calls"
if [ "$last" = update ]; then touch "{folder}/updated"; exit 0; fi
tar="{folder}/$last.tar"
if [ -e "{folder}/updated" ] && [ -e "$tar" ]; then cp "$tar" "${{last}}_4%3a1.0-1_all.deb"; exit 0; fi
echo "W: a warning" >&2
echo "E: Unable to locate package $last" >&2
exit 100
"""
DPKG_DEB = """#!/bin/sh
mkdir -p "$3" && tar -xf "$2" -C "$3"
"""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch) -> Path:
    """Put in front of the real commands an apt-get that knows the tar files in a folder, once its lists are updated."""
    folder = tmp_path / "archive"
    folder.mkdir()
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, script in (("apt-get", APT_GET.format(folder=folder)), ("dpkg-deb", DPKG_DEB)):
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return folder


def add_package(archive: Path, name: str, files: dict[str, np.ndarray], links: dict[str, str] | None = None) -> None:
    root = archive / name
    for path, array in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(root / path, quality=95)
    for path, target in (links or {}).items():
        (root / path).symlink_to(target)
    with tarfile.open(archive / f"{name}.tar", "w") as tar:
        tar.add(root, arcname=".")


def test_photos_come_from_the_packages(tmp_path: Path, archive: Path, capsys):
    wallpapers = "usr/share/wallpapers/Kite/contents/images"
    add_package(
        archive,
        "plasma-workspace-wallpapers",
        {f"{wallpapers}/640x480.jpg": dead_leaves(64, 1), f"{wallpapers}/2560x1600.jpg": dead_leaves(256, 1)},
        links={f"{wallpapers}/1280x800.jpg": "2560x1600.jpg"},
    )
    nature = "usr/share/backgrounds/mate/nature"
    elsewhere = {f"{nature}/Aqua.jpg": dead_leaves(256, 2), "usr/share/moved/nature/Wood.jpg": dead_leaves(256, 3)}
    artwork = {"usr/share/backgrounds/mate/abstract/Elephants.jpg": dead_leaves(256, 4)}
    add_package(archive, "mate-backgrounds", elsewhere | artwork)

    assert main(["photos", "--out", str(tmp_path / "set"), "--min-side", "64"]) == 0
    made = PhotoSet.load(tmp_path / "set")
    assert made.recipe == "photos"
    assert {photo.file: (photo.source, photo.author, photo.licence) for photo in made.photos} == {
        "kite.png": (
            f"debian:plasma-workspace-wallpapers_4:1.0-1_all/{wallpapers}/2560x1600.jpg",
            "Risto Saukonpää",
            "LGPL-3.0-only",
        ),
        "aqua.png": (f"debian:mate-backgrounds_4:1.0-1_all/{nature}/Aqua.jpg", "Charles Barbin", "GPL-2.0-or-later"),
        "wood.png": (
            "debian:mate-backgrounds_4:1.0-1_all/usr/share/moved/nature/Wood.jpg",
            "Jean-François Fortin Tam",
            "GPL-2.0-or-later",
        ),
    }
    assert len(made.photos) + len(made.skipped) == len(debian.PHOTOGRAPHS)
    reasons = {image.source: image.reason for image in made.skipped}
    missing = "not in the package: looked in mate-backgrounds_4%3a1.0-1_all.deb"
    assert reasons["debian:mate-backgrounds/nature/Dune.jpg"] == missing
    unavailable = reasons["debian:lomiri-wallpapers-20.04/Kleiber_by_Lukas_Baubkus.jpg"]
    assert unavailable.startswith("package not available")
    calls = (archive / "calls").read_text().split()
    assert calls.count("update") == 1
    assert calls.count("mate-backgrounds") == 2
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "  left out 14: package not available\n" in printed.out


@pytest.mark.parametrize("tools", ["none", "offline"])
def test_without_packages_the_fallback_is_made_with_one_sentence(
    tmp_path: Path, monkeypatch, capsys, tools: str, request
):
    if tools == "none":
        monkeypatch.setenv("PATH", str(tmp_path))
        reason = "apt-get is not installed"
    else:
        request.getfixturevalue("archive")
        reason = "apt-get cannot download them: Unable to locate package plasma-workspace-wallpapers"
    out = tmp_path / "set"
    assert main(["photos", "--out", str(out), *LEAVES]) == 0
    expected = "no photographs from Debian's free-licence wallpaper packages here "
    expected += f"({reason}): making packaged+dead-leaves instead.\n"
    assert capsys.readouterr().err == expected
    made = PhotoSet.load(out)
    assert made.recipe == "packaged+dead-leaves"
    assert sum(photo.source.startswith("dead-leaves:") for photo in made.photos) == 2
    assert len(made.photos) + len(made.skipped) == 2 + len(packaged.PHOTOGRAPHS)
    assert main(["photos", "--out", str(out), *LEAVES]) == 0
    assert "is there already" in capsys.readouterr().out


def test_the_fallback_never_replaces_photographs(tmp_path: Path, archive: Path, monkeypatch, capsys):
    nature = "usr/share/backgrounds/mate/nature"
    files = {f"{nature}/Aqua.jpg": dead_leaves(256, 2), f"{nature}/Wood.jpg": dead_leaves(256, 3)}
    add_package(archive, "mate-backgrounds", files)
    out = tmp_path / "set"
    assert main(["photos", "--out", str(out), "--min-side", "64"]) == 0
    before = PhotoSet.load(out)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["photos", "--out", str(out), "--min-side", "64", "--force", *LEAVES]) == 2
    assert capsys.readouterr().err.endswith(f"(apt-get is not installed): {out} stays as it is\n")
    assert PhotoSet.load(out) == before


def test_packaged_photographs_are_in_the_wheels_and_small_in_number(tmp_path: Path):
    harvest = packaged.collect(None, tmp_path)  # type: ignore[arg-type]
    assert not harvest.skipped
    assert len(harvest.candidates) == len(packaged.PHOTOGRAPHS)
    for candidate in harvest.candidates:
        with Image.open(candidate.path) as image:
            assert image.mode == "RGB"
            assert min(image.size) >= 256


def test_packaged_photographs_of_a_missing_package_are_reported(tmp_path: Path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "skimage" else find_spec(name))
    harvest = packaged.collect(None, tmp_path)  # type: ignore[arg-type]
    assert len(harvest.candidates) == 2
    assert {image.reason for image in harvest.skipped} == {"not installed: skimage has no such file here"}


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "train").mkdir(parents=True)
    for seed in range(4):
        Image.fromarray(dead_leaves(128, seed)).save(folder / "train" / f"{seed}.png")
    return folder


def test_hub_reads_a_local_data_set(tmp_path: Path, image_folder: Path, capsys):
    out = tmp_path / "set"
    arguments = ["hub", str(image_folder), "--out", str(out), "--min-side", "64"]
    assert main([*arguments, "--limit", "3"]) == 0
    made = PhotoSet.load(out)
    assert [photo.source for photo in made.photos] == [f"hub:{image_folder}/train/{index}" for index in range(3)]
    assert {photo.licence for photo in made.photos} == {"not stated by the data set"}
    for index, photo in enumerate(made.photos):
        with Image.open(made.path(photo)) as stored:
            np.testing.assert_array_equal(np.asarray(stored), dead_leaves(128, index))
    capsys.readouterr()
    for wrong, message in (("--column", "has no column 'other', its columns: image"), ("--split", "Bad split: other")):
        assert main([*arguments, "--force", wrong, "other"]) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.count("\n") == 1
    assert PhotoSet.load(out) == made


def test_hub_reads_images_that_lie_inside_a_table(tmp_path: Path, image_folder: Path):
    import datasets

    files = [str(path) for path in sorted((image_folder / "train").iterdir())]
    photos = [{"bytes": Path(file).read_bytes(), "path": None} for file in files]
    features = datasets.Features({"photo": datasets.Image(decode=False)})
    table = datasets.Dataset.from_dict({"photo": [*photos, None]}, features=features)
    (tmp_path / "table").mkdir()
    table.to_parquet(tmp_path / "table" / "train.parquet")
    arguments = [
        "hub",
        str(tmp_path / "table"),
        "--column",
        "photo",
        "--out",
        str(tmp_path / "set"),
        "--min-side",
        "64",
    ]
    assert main(arguments) == 0
    made = PhotoSet.load(tmp_path / "set")
    assert len(made.photos) == 4
    assert [image.reason for image in made.skipped] == ["no image: the row's column is empty"]


def test_hub_that_cannot_be_reached_is_one_sentence(tmp_path: Path, monkeypatch, capsys):
    import datasets

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the Hub\n(and a second line)")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    assert main(["hub", "somebody/something", "--out", str(tmp_path / "set")]) == 2
    expected = "python -m data hub: the data set somebody/something cannot be read, from the hub or from disk: "
    expected += "Couldn't reach the Hub (and a second line)\n"
    assert capsys.readouterr().err == expected
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("end", [ConnectionError("the line went dead"), KeyboardInterrupt()], ids=repr)
def test_hub_goes_on_with_a_download_that_broke_off(tmp_path: Path, image_folder: Path, monkeypatch, capsys, end):
    """Rows that were noted are not fetched again, and the set is that of an unbroken download."""
    monkeypatch.setattr(hub, "NOTED_EVERY", 1)
    arguments = ["hub", str(image_folder), "--min-side", "64", "--out"]
    assert main([*arguments, str(tmp_path / "whole")]) == 0
    content, fetched = hub._content, []

    def breaks_at_the_third(image):
        if len(fetched) == 2:
            fetched.append(None)
            raise end
        fetched.append(image)
        return content(image)

    monkeypatch.setattr(hub, "_content", breaks_at_the_third)
    out = tmp_path / "set"
    assert main([*arguments, str(out)]) in (2, 130)
    assert not out.exists()
    fetched.clear()
    capsys.readouterr()
    monkeypatch.setattr(hub, "_content", lambda image: fetched.append(image) or content(image))
    assert main([*arguments, str(out)]) == 0
    assert "2 rows are here already" in capsys.readouterr().err
    assert len(fetched) == 2  # of four
    ours, whole = PhotoSet.load(out), PhotoSet.load(tmp_path / "whole")
    assert (ours.photos, ours.sha256) == (whole.photos, whole.sha256)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_hub_records_the_licence_that_the_data_set_states(tmp_path: Path, monkeypatch, image_folder: Path):
    import datasets

    load_dataset = datasets.load_dataset

    def licensed(*arguments: object, **options: object):
        rows = load_dataset(*arguments, **options)  # type: ignore[call-overload]
        rows.info.license = "cc-by-4.0"
        return rows

    monkeypatch.setattr(datasets, "load_dataset", licensed)
    assert main(["hub", str(image_folder), "--out", str(tmp_path / "set"), "--min-side", "64"]) == 0
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert {image["licence"] for image in manifest["images"]} == {"cc-by-4.0"}


def photo_set(folder: Path, seed: int, count: int = 3) -> PhotoSet:
    main(["dead-leaves", "--out", str(folder), "--count", str(count), "--size", "256", "--seed", str(seed)])
    return PhotoSet.load(folder)


def test_sets_are_joined_and_every_photograph_keeps_its_split(tmp_path: Path):
    parts = [photo_set(tmp_path / name, seed) for name, seed in (("one", 1), ("two", 2))]
    assert main(["sets", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "both")]) == 0
    joined = PhotoSet.load(tmp_path / "both")
    joined.verify()
    expected = sorted((photo.sha256, photo.split) for part in parts for photo in part.photos)
    assert sorted((photo.sha256, photo.split) for photo in joined.photos) == expected
    assert len({photo.file for photo in joined.photos}) == 6


def test_a_photograph_in_two_sets_stays_held_out(tmp_path: Path):
    first = photo_set(tmp_path / "one", 1, count=6)
    held = next(photo for photo in first.photos if photo.split == "val")
    other = photo_set(tmp_path / "two", 1, count=6)
    instead = next(photo for photo in other.photos if photo.split == "train")  # two must hold out one too
    splits = {held.sha256: "train", instead.sha256: "val"}
    moved = [replace(photo, split=splits.get(photo.sha256, photo.split)) for photo in other.photos]
    replace(other, photos=tuple(moved)).save()
    main(["sets", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "both")])
    joined = PhotoSet.load(tmp_path / "both")
    assert len(joined.photos) == 6
    found = {photo.sha256: photo.split for photo in joined.photos}
    assert (found[held.sha256], found[instead.sha256]) == ("val", "val")
    assert sum("near-duplicate" in skipped.reason for skipped in joined.skipped) == 6


def test_a_set_is_not_joined_into_itself(tmp_path: Path, capsys):
    photo_set(tmp_path / "one", 1)
    assert main(["sets", str(tmp_path / "one"), "--out", str(tmp_path / "one")]) == 2
    assert "give --out another folder" in capsys.readouterr().err

"""The command as a user runs it: made once, never half made, nothing of the user's own overwritten."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from data.__main__ import main
from data.candidates import Unreachable
from data.dead_leaves import dead_leaves
from data.recipes import RECIPES
from lua_lightning.pairs.photos import PhotoSet

ROOT = Path(__file__).parents[2]
LEAVES = ["dead-leaves", "--count", "3", "--size", "128", "--min-side", "64"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures" / "below"
    folder.mkdir(parents=True)
    for seed in range(3):
        Image.fromarray(dead_leaves(128, seed=seed)).save(folder / f"{seed}.png")
    return folder.parent


def test_a_set_is_made_once(tmp_path: Path, capsys):
    out = tmp_path / "set"
    assert main([*LEAVES, "--out", str(out)]) == 0
    counts = "1 photographs to train on, 1 to validate and 1 to test, 0 left out"
    assert f"{out}: {counts} (recipe dead-leaves" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert main([*LEAVES, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "is there already" in printed
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_a_set_that_is_there_is_recognised_without_importing_torch(tmp_path: Path):
    assert main([*LEAVES, "--out", str(tmp_path / "set")]) == 0
    script = f"import sys; from data.__main__ import main; main({[*LEAVES, '--out', str(tmp_path / 'set')]!r}); "
    script += "print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.endswith("nothing to do (--force makes it again)\nFalse\n")


@pytest.mark.parametrize("other", [[*LEAVES, "--seed", "1"], ["packaged", "--min-side", "64"]])
def test_only_force_replaces_a_set_whatever_made_it(tmp_path: Path, capsys, other: list[str]):
    out = tmp_path / "set"
    main([*LEAVES, "--out", str(out)])
    first, before = PhotoSet.load(out), {path.name: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    assert main([*other, "--out", str(out)]) == 0
    assert "it stays as it is (--force replaces it)" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    main([*other, "--out", str(out), "--force"])
    assert PhotoSet.load(out).sha256 != first.sha256
    main([*LEAVES, "--out", str(out), "--force"])
    assert PhotoSet.load(out) == first  # the same seed gives the same bytes, and so the same splits


def test_make_leaves_the_users_photographs_alone(tmp_path: Path, pictures: Path):
    """The README's two commands: `data folder`, then any target with PHOTOS=, which asks for `data photos`."""
    out = tmp_path / "mine"
    assert main(["folder", str(pictures), "--out", str(out), "--min-side", "64"]) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(["photos", "--out", str(out)]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_damaged_set_of_another_recipe_is_left_for_its_owner(tmp_path: Path, pictures: Path, capsys):
    out = tmp_path / "mine"
    main(["folder", str(pictures), "--out", str(out), "--min-side", "64"])
    first, *rest = sorted(out.glob("*.png"))
    first.unlink()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(["photos", "--out", str(out)]) == 2
    assert "make the set again with `python -m data folder" in capsys.readouterr().err
    assert rest
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_what_cannot_be_fetched_replaces_nothing(tmp_path: Path, pictures: Path, capsys, monkeypatch):
    def unreachable(options, work):
        raise Unreachable("no apt")

    out = tmp_path / "mine"
    main(["folder", str(pictures), "--out", str(out), "--min-side", "64"])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setitem(RECIPES, "photos", dataclasses.replace(RECIPES["photos"], collect=unreachable))
    assert main(["photos", "--out", str(out), "--force"]) == 2
    assert f"{out} stays as it is" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_picture_of_the_users_inside_a_set_is_never_replaced(tmp_path: Path, capsys):
    out = tmp_path / "set"
    main([*LEAVES, "--out", str(out)])
    (out / "holiday.png").write_text("precious")
    assert main([*LEAVES, "--out", str(out), "--force"]) == 2
    assert "not a photo set's (holiday.png)" in capsys.readouterr().err
    (out / "manifest.json").write_text("{")
    assert main([*LEAVES, "--out", str(out)]) == 2
    assert "nothing says which files there are the set's" in capsys.readouterr().err
    assert (out / "holiday.png").read_text() == "precious"


def test_a_kill_while_a_set_is_replaced_loses_neither(tmp_path: Path, capsys):
    """Between the two renames neither folder stands at its place: the next run puts the old one back."""
    out = tmp_path / "set"
    main([*LEAVES, "--out", str(out)])
    before = PhotoSet.load(out)
    left_over = tmp_path / ".set.partial-999999999"
    left_over.mkdir()
    out.rename(left_over / "replaced")
    assert main([*LEAVES, "--out", str(out)]) == 0
    assert "is there already" in capsys.readouterr().out.splitlines()[-1]
    assert PhotoSet.load(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_damaged_set_is_made_again_and_says_so(tmp_path: Path, capsys):
    out = tmp_path / "set"
    main([*LEAVES, "--out", str(out)])
    whole = PhotoSet.load(out)
    (out / whole.photos[0].file).write_bytes(b"damaged")
    assert main([*LEAVES, "--out", str(out)]) == 0
    assert "is not the file that manifest.json describes" in capsys.readouterr().err
    PhotoSet.load(out).verify()
    assert PhotoSet.load(out) == whole


def test_a_killed_run_leaves_no_half_set(tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "data",
        "dead-leaves",
        "--size",
        "128",
        "--count",
        "9999",
        "--out",
        str(tmp_path / "set"),
    ]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        deadline = time.monotonic() + 20
        while not list(tmp_path.glob(".set.partial-*/fetched/*.bmp")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [path.name for path in tmp_path.iterdir()] == [f".set.partial-{process.pid}"]
    (tmp_path / f".set.partial-{os.getppid()}").mkdir()  # of a run that still lives
    assert main([*LEAVES, "--out", str(tmp_path / "set")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".set.partial-{os.getppid()}", "set"]


def test_a_run_that_fails_leaves_the_old_set(tmp_path: Path, capsys):
    out = tmp_path / "set"
    main([*LEAVES, "--out", str(out)])
    before = PhotoSet.load(out)
    assert main([*LEAVES, "--out", str(out), "--min-side", "129", "--force"]) == 2
    assert "3 images found, 0 usable" in capsys.readouterr().err
    assert PhotoSet.load(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("name", ["thesis.txt", "holiday.png"])
def test_a_folder_of_other_files_is_not_replaced(tmp_path: Path, capsys, name: str):
    out = tmp_path / "mine"
    out.mkdir()
    (out / name).write_text("precious")
    assert main([*LEAVES, "--out", str(out)]) == 2
    assert f"holds files that are not a photo set's ({name})" in capsys.readouterr().err
    assert (out / name).read_text() == "precious"


def test_folder_takes_the_users_images_with_subfolders(tmp_path: Path, pictures: Path, capsys):
    (pictures / "notes.txt").write_text("not an image")
    (pictures / "notes.jpg").write_text("not an image either")
    arguments = ["folder", str(pictures), "--out", str(tmp_path / "set"), "--min-side", "64"]
    assert main(arguments) == 0
    made = PhotoSet.load(tmp_path / "set")
    assert [photo.source for photo in made.photos] == [f"folder:below/{seed}.png" for seed in range(3)]
    assert {photo.licence for photo in made.photos} == {"unknown (user's own)"}
    assert {image.source for image in made.skipped} == {"folder:*.txt", "folder:notes.jpg"}
    printed = capsys.readouterr().out
    assert "  left out 1: no image suffix\n" in printed
    assert "  left out 1: is not an image in any format Pillow reads\n" in printed
    Image.fromarray(dead_leaves(128, seed=9)).save(pictures / "new.png")
    capsys.readouterr()
    assert main(arguments) == 0
    assert "made with other settings or images" in capsys.readouterr().out  # a new image is noticed
    assert main([*arguments, "--force"]) == 0
    assert len(PhotoSet.load(tmp_path / "set").photos) == 4
    assert main([*arguments, "--force", "--licence", "CC0-1.0"]) == 0
    assert {photo.licence for photo in PhotoSet.load(tmp_path / "set").photos} == {"CC0-1.0"}


def test_one_odd_file_never_stops_a_folder(tmp_path: Path, pictures: Path, capsys):
    whole = (pictures / "below" / "0.png").read_bytes()
    (pictures / os.fsdecode(b"caf\xe9.png")).write_bytes(whole[:-60])
    os.rename(pictures / "below" / "1.png", pictures / os.fsdecode(b"\xff1.png"))
    (pictures / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 100)
    clear = np.dstack([dead_leaves(128, seed=7), np.full((128, 128), 128, np.uint8)])
    Image.fromarray(clear).save(pictures / "clear.png")
    os.mkfifo(pictures / "pipe.png")
    assert main(["folder", str(pictures), "--out", str(tmp_path / "set"), "--min-side", "64"]) == 0
    found = PhotoSet.load(tmp_path / "set")
    reasons = {image.source: image.reason for image in found.skipped}
    assert len(found.photos) == 3
    assert "transparent" in reasons["folder:clear.png"]
    assert "PNG or JPEG" in reasons["folder:photo.heic"]
    assert "cannot be decoded" in reasons[f"folder:{os.fsdecode(b'caf')}\udce9.png"]
    assert len(reasons) == 3
    assert "has transparent places" in capsys.readouterr().out


def test_folder_and_out_must_lie_apart(tmp_path: Path, pictures: Path, capsys):
    for out in (pictures, pictures / "set", tmp_path):
        assert main(["folder", str(pictures), "--out", str(out)]) == 2
        assert "lie inside one another" in capsys.readouterr().err
    assert main(["folder", str(tmp_path / "nowhere")]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err


def test_an_empty_folder_says_that_nothing_was_found(tmp_path: Path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["folder", str(tmp_path / "empty"), "--out", str(tmp_path / "set")]) == 2
    message = "python -m data folder: 0 images found, 0 usable, and at least 2 are needed (no files at all)\n"
    assert capsys.readouterr().err == message
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--val-fraction", "1"], ["--test-fraction", "0"], ["--min-side", "8"], ["--workers", "0"], ["--count", "0"]],
)
def test_options_out_of_range_are_refused_before_any_work(tmp_path: Path, capsys, arguments: list[str]):
    assert main([*LEAVES, "--out", str(tmp_path / "set"), *arguments]) == 2
    assert f"argument {arguments[0]}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_manifest_tells_what_was_asked_for(tmp_path: Path):
    main([*LEAVES, "--out", str(tmp_path / "set"), "--val-fraction", "0.6"])
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert manifest["recipe"] == "dead-leaves"
    assert manifest["settings"] == {
        "min_side": 64,
        "target_softness": 30.0,
        "max_softness": 44.0,
        "val_fraction": 0.6,
        "test_fraction": 0.15,
        "split_by": "author",
        "count": 3,
        "size": 128,
        "seed": 0,
    }
    assert [image["split"] for image in manifest["images"]].count("val") == 2


def test_dead_leaves_look_like_the_model_and_repeat():
    image = dead_leaves(256, seed=[0, 7])
    assert image.shape == (256, 256, 3)
    np.testing.assert_array_equal(image, dead_leaves(256, seed=[0, 7]))
    assert np.any(image != dead_leaves(256, seed=[0, 8]))
    # Power falls with frequency as k^-2 to k^-3, as in photographs (Ruderman 1997); white noise would give 0.
    grey = image.mean(-1) - image.mean()
    window = np.hanning(256)
    power = np.abs(np.fft.fft2(grey * window[:, None] * window)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256))) * 256
    rings = [power[(frequency >= k) & (frequency < k + 1)].mean() for k in range(4, 64)]
    slope = np.polyfit(np.log(np.arange(4, 64)), np.log(rings), 1)[0]
    assert -3.2 < slope < -1.8


def test_the_users_own_images_are_split_by_the_author_that_exif_names(tmp_path: Path, capsys):
    source = tmp_path / "mine"
    source.mkdir()
    for index in range(12):
        exif = Image.Exif()
        exif[ExifTags.Base.Artist] = f"Ann {index % 4} Example\0"
        Image.fromarray(dead_leaves(96, seed=index)).save(source / f"{index:02d}.jpg", exif=exif, quality=95)
    assert main(["folder", str(source), "--out", str(tmp_path / "set"), "--min-side", "64"]) == 0
    photos = PhotoSet.load(tmp_path / "set")
    assert {photo.author for photo in photos.photos} == {f"Ann {index} Example" for index in range(4)}
    for author in {photo.author for photo in photos.photos}:
        assert len({photo.split for photo in photos.photos if photo.author == author}) == 1
    assert photos.settings["split_by"] == "author"
    by_image = ["folder", str(source), "--out", str(tmp_path / "other"), "--min-side", "64", "--split-by", "image"]
    assert main(by_image) == 0
    assert "split_by" not in PhotoSet.load(tmp_path / "other").settings

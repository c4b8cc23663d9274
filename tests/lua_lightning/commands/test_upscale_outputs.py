"""What `upscale` leaves on disk: nothing of the user's is replaced, no result is lost, and mistakes are told first."""

import argparse
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lua_lightning.cli import main
from lua_lightning.commands import upscale as command
from lua_lightning.commands import upscale_files as files
from lua_lightning.commands.outputs import distinct_names, free_name
from lua_lightning.images import to_tensor, to_uint8
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.pictures import WRITERS, Picture, read_picture
from lua_lightning.pipeline import load_pair, upscale_tensor
from lua_lightning.sizes import target
from lua_lightning.upscaling import enlarge, memory_needed


@pytest.fixture(scope="module")
def adapter_folder(tmp_path_factory):
    torch.manual_seed(0)
    model = LatentUpscaler(AdapterConfig(channels=4, embed_dim=8, depths=(1,), num_heads=1, window_size=4, head_dim=8))
    folder = tmp_path_factory.mktemp("adapter") / "small"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def pair(adapter_folder, codec_folder):
    return load_pair(adapter_folder, codec_folder, device="cpu")


@pytest.fixture
def upscale(adapter_folder, codec_folder):
    models = ["--adapter", str(adapter_folder), "--codec", str(codec_folder)]
    return lambda *arguments: main(["upscale", *map(str, arguments), *models])


@pytest.fixture
def no_models(monkeypatch):
    """Let nothing be loaded: what is refused under it was refused before any work."""

    def work(*arguments, **settings):
        raise AssertionError("work began")

    monkeypatch.setattr("lua_lightning.pipeline.load_pair", work)


def picture(path: Path, colour=(200, 30, 30), size=(40, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


COLOURS = {".png": (255, 0, 0), ".bmp": (0, 255, 0), ".webp": (0, 0, 255), ".tif": (128, 128, 128)}


def test_pictures_of_one_stem_each_have_a_result(tmp_path, upscale):
    for suffix, colour in COLOURS.items():
        picture(tmp_path / "in" / f"a{suffix}", colour, (64, 64))
    picture(tmp_path / "in" / "b.png")
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 0
    assert set(contents(tmp_path / "out")) == {*(f"a{suffix}_x2.png" for suffix in COLOURS), "b_x2.png"}


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["IMG_1.jpg"], ["IMG_1_x2.png"]),
        (["a.jpg", "a.png", "b.png"], ["a.jpg_x2.png", "a.png_x2.png", "b_x2.png"]),
        (["a.jpg", "a.jpg.png", "a.png"], ["a.jpg_x2.png", "a.jpg-2_x2.png", "a.png_x2.png"]),
        (["A.png", "a.png"], ["A.png_x2.png", "a.png-2_x2.png"]),
        (["deep/a.jpg", "a.jpg"], ["deep/a_x2.png", "a_x2.png"]),
        (["none", "none.png", ".hidden"], ["none_x2.png", "none.png_x2.png", ".hidden_x2.png"]),
    ],
)
def test_names_are_distinct_also_where_capitals_do_not_count(sources, expected):
    names = [path.as_posix() for path in distinct_names([Path(source) for source in sources], "_x2.png")]
    assert names == expected
    assert len({name.casefold() for name in names}) == len(names)


@pytest.mark.parametrize("spelling", ["in", "./in", "link", "absolute", "in/../in"])
def test_the_folder_of_the_inputs_is_no_output_however_it_is_written(tmp_path, upscale, spelling, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "in" / "a.png")
    Path("link").symlink_to("in")
    before = contents(tmp_path)
    assert upscale("in", "-o", tmp_path / "in" if spelling == "absolute" else spelling, "--overwrite") == 2
    assert "is the folder of the inputs" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("first", ["in/out", "absolute", "link/out"])
def test_results_inside_the_input_folder_are_never_inputs(tmp_path, upscale, first, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "in" / "a.png")
    Path("link").symlink_to("in")
    for output in (tmp_path / "in/out" if first == "absolute" else first, "in/../in/out"):
        assert upscale("in", "-o", output, "--overwrite") == 0
    assert set(contents(tmp_path / "in")) == {"a.png", "out/a_x2.png"}


@pytest.mark.parametrize("options", [[], ["--overwrite"], ["--skip-existing"]])
@pytest.mark.parametrize("name", ["x.png", "./deep/../x.png", "link.png", "hard.png"])
def test_a_file_is_never_its_own_result(tmp_path, upscale, no_models, name, options, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "x.png")
    (tmp_path / "deep").mkdir()
    Path("link.png").symlink_to("x.png")
    os.link("x.png", "hard.png")
    before = contents(tmp_path)
    assert upscale("x.png", "-o", name, *options) == 2
    assert "is the input itself" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_what_is_there_is_replaced_only_when_told(tmp_path, upscale, capsys):
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.png")
    kept = tmp_path / "out" / "a_x2.png"
    kept.parent.mkdir()
    kept.write_text("mine")
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 2
    assert f"{kept} is there already" in capsys.readouterr().err
    assert contents(tmp_path / "out") == {"a_x2.png": b"mine"}
    assert upscale(tmp_path / "in", "-o", tmp_path / "out", "--skip-existing") == 0
    assert kept.read_text() == "mine"
    assert (tmp_path / "out" / "b_x2.png").is_file()
    assert upscale(tmp_path / "in", "-o", tmp_path / "out", "--overwrite") == 0
    assert Image.open(kept).size == (80, 64)
    assert upscale(tmp_path / "in", "-o", tmp_path / "out", "--skip-existing") == 0
    assert "nothing to do" in capsys.readouterr().err


def test_a_single_result_is_replaced_only_when_told(tmp_path, upscale, capsys):
    source, kept = picture(tmp_path / "x.png"), tmp_path / "y.png"
    kept.symlink_to("nowhere")  # a link that leads nowhere is a file of the user's too
    assert upscale(source, "-o", kept) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert kept.is_symlink()
    assert upscale(source, "-o", kept, "--overwrite") == 0
    assert Image.open(kept).size == (80, 64)


def wide(folder: Path) -> Path:
    return picture(folder / "wide.png", size=(16400, 8))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plain.png", "-o", "out.tif"], "out.tif cannot be written: the suffix must be one of .png"),
        (["plain.png", "-o", "out"], "out cannot be written: the suffix"),
        (["plain.png", "-o", "plain.png/x.png"], "plain.png is not a folder"),
        (["plain.png", "-o", "/proc/x.png"], "--output /proc/x.png cannot be made"),
        (["plain.png", "-o", "/proc/deep/x.png"], "cannot be made"),
        (["plain.png", "-o", "."], "is a folder"),
        (["folder", "-o", "plain.png"], "is a file"),
        (["folder", "-o", "plain.png/out"], "plain.png is not a folder"),
        (["folder", "-o", "/proc/out"], "cannot be made"),
        (["wide.png", "-o", "w.webp"], "at most 16383"),
        (["wide.png", "-o", "w.jpg", "--scale", "4"], "at most 65500"),
        (["wide.png", "-o", "w.JPEG", "--scale", "4"], "at most 65500"),
        (["plain.png", "-o", "o.png", "--tile", "255"], "--tile 255"),
        (["plain.png", "-o", "o.png", "--tile", "-1"], "--tile -1"),
        (["plain.png", "-o", "o.png", "--tile", "100000000"], "--tile 100000000"),
        (["plain.png", "-o", "o.png", "--scale", "0"], "--scale 0"),
        (["plain.png", "-o", "o.png", "--device", "tpu"], "--device tpu"),
        (["plain.png", "-o", "o.png", "--device", "meta"], "--device meta"),
        (["plain.png", "-o", "o.png", "--device", "cuda:99"], "--device cuda:99"),
        (["plain.png", "-o", "o.png", "--device", "cpu:1"], "--device cpu:1"),
        (["plain.png", "-o", "o.png", "--device", "cuda:x"], "--device cuda:x"),
        (["plain.png", "-o", "o.png", "--device", ""], "--device"),
        (["missing.png", "-o", "o.png"], "does not exist"),
        (["empty", "-o", "out"], "holds no files"),
        (["plain.png", "-o", "o.png", "--overwrite", "--skip-existing"], "not allowed with"),
    ],
)
def test_mistakes_are_one_sentence_before_any_work(tmp_path, upscale, no_models, arguments, said, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "plain.png")
    picture(tmp_path / "folder" / "a.png")
    (tmp_path / "empty").mkdir()
    wide(tmp_path)
    before = contents(tmp_path)
    assert upscale(*arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("name", "writer"), [(name, writer) for name, writer in WRITERS.items() if name != ".png"])
def test_the_limits_of_formats_are_those_of_pillow(name, writer):
    Image.new("RGB", (writer.longest_side, 1)).save(io.BytesIO(), writer.name)
    with pytest.raises((OSError, ValueError)):
        Image.new("RGB", (writer.longest_side + 1, 1)).save(io.BytesIO(), writer.name)


def test_a_tile_that_is_no_multiple_is_rounded_down(pair):
    pixels = np.random.default_rng(0).integers(0, 256, (150, 170, 3), dtype=np.uint8)
    uneven, even = (np.asarray(enlarge(*pair, Picture(pixels), 2, tile)) for tile in (257, 256))
    np.testing.assert_array_equal(uneven, even)


@pytest.mark.parametrize("tile", [None, 256])
@pytest.mark.parametrize("scale", [2, 4])
def test_the_canvas_holds_what_the_tensors_give(pair, scale, tile):
    pixels = np.random.default_rng(0).integers(0, 256, (150, 203, 3), dtype=np.uint8)
    found = np.asarray(enlarge(*pair, Picture(pixels), scale, tile)).astype(int)
    expected = to_uint8(upscale_tensor(*pair, to_tensor(pixels), scale, tile))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1


def test_transparency_is_kept_where_the_format_holds_it_and_told_where_not(tmp_path, upscale, capsys):
    alpha = np.repeat(np.array([0, 128, 255], dtype=np.uint8), 48)[None].repeat(96, 0)
    Image.fromarray(np.dstack([np.full((96, 144, 3), 90, np.uint8), alpha])).save(tmp_path / "alpha.png")
    for name in ("a.png", "a.webp"):
        assert upscale(tmp_path / "alpha.png", "-o", tmp_path / name) == 0
        with Image.open(tmp_path / name) as result:
            assert (result.size, result.mode) == ((288, 192), "RGBA")
            found = np.asarray(result)[:, [20, 144, 260], 3]
        assert (found == [0, 128, 255]).all()
    assert "white" not in capsys.readouterr().out
    assert upscale(tmp_path / "alpha.png", "-o", tmp_path / "a.jpg") == 0
    assert "transparency was put on white" in capsys.readouterr().out


def test_a_batch_goes_on_whatever_one_file_does(tmp_path, upscale, capsys, monkeypatch):
    folder = tmp_path / "in"
    names = [b"caf\xe9.png", b"odd\nname.png", b"ok.png", b"zz.png"]
    for name in names:
        picture(folder / os.fsdecode(name))
    (folder / "notes.txt").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "ok.png").read_bytes()[:60])
    (folder / "nowhere.png").symlink_to("gone.png")
    os.mkfifo(folder / "pipe.png")
    real = files.enlarge

    def enlarge(way, job, *rest):
        if job.source.name == "zz.png":
            raise ZeroDivisionError("of a decoder")
        return real(way, job, *rest)

    monkeypatch.setattr(files, "enlarge", enlarge)
    assert upscale(folder, "-o", tmp_path / "out") == 1
    assert len(contents(tmp_path / "out")) == 3
    skipped = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped: ")]
    reasons = {"notes.txt": "no image", "cut.png": "cannot be", "nowhere.png": "not exist", "pipe.png": "no file"}
    for name, reason in {**reasons, "zz.png": "of a decoder"}.items():
        assert [line for line in skipped if name in line and reason in line.replace("not an", "no")], (name, skipped)
    assert len(skipped) == 5


@pytest.mark.parametrize("kind", ["memory", "disk space"])
def test_a_picture_without_room_is_left_out_with_its_reason(tmp_path, upscale, kind, monkeypatch, capsys):
    picture(tmp_path / "in" / "large.png", size=(600, 400))
    picture(tmp_path / "in" / "small.png", size=(8, 8))
    room = memory_needed(600, 400, 2, 1024) - 1 if kind == "memory" else 1200 * 800 * 4 - 1
    if kind == "memory":
        monkeypatch.setattr("lua_lightning.environment.memory", lambda: (room, 2**40))
    else:
        monkeypatch.setattr(files, "free_bytes", lambda path: room)
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 1
    assert set(contents(tmp_path / "out")) == {"small_x2.png"}
    error = capsys.readouterr().err
    assert "large.png is too large: 1200x800 pixels may need about 0." in error
    assert f" GiB of {kind}, and 0." in error


def test_a_reader_that_leaves_does_not_stop_the_work(tmp_path, adapter_folder, codec_folder):
    for number in range(4):
        picture(tmp_path / "in" / f"{number}.png", size=(8, 8))
    models = f"--adapter {adapter_folder} --codec {codec_folder} --device cpu"
    line = f"{sys.executable} -m lua_lightning upscale {tmp_path}/in -o {tmp_path}/out {models} | head -1"
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True)
    assert len(contents(tmp_path / "out")) == 4
    assert "Error" not in ended.stderr
    assert (len(ended.stdout.splitlines()), ended.returncode) == (1, 0)


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_ends_a_folder_and_says_how_to_go_on(tmp_path, upscale, monkeypatch, capsys, number, word):
    picture(tmp_path / "in" / "a.png")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
    monkeypatch.setattr(files, "enlarge", lambda *arguments: signal.raise_signal(number))
    try:
        assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 128 + number
    finally:
        signal.signal(signal.SIGINT, before)
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "upscale:" in line] == [
        f"lua-lightning upscale: {word}: what is made stays; the same command with --skip-existing goes on"
    ]


def test_a_default_name_gives_way_to_what_is_there(tmp_path):
    assert free_name(tmp_path / "lua-512.png") == tmp_path / "lua-512.png"
    for name in ("lua-512.png", "lua-512-2.png"):
        (tmp_path / name).touch()
    assert free_name(tmp_path / "lua-512.png") == tmp_path / "lua-512-3.png"


def test_the_plan_names_inputs_and_outputs(tmp_path):
    picture(tmp_path / "in" / "deep" / "a.png")
    (job,) = command.plan(tmp_path / "in", tmp_path / "out", "x4")
    assert (job.source, job.output) == (tmp_path / "in/deep/a.png", tmp_path / "out/deep/a_x4.png")
    options = argparse.Namespace(input=tmp_path / "in", output=tmp_path / "out", tile=256)
    options = argparse.Namespace(**vars(options), overwrite=False, skip_existing=False)
    assert command.check(options, [job], target(4)) == [job]
    assert read_picture(job.source).alpha is None

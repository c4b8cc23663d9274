"""Images made elsewhere: the manifest is read, refused where it is wrong, and shown beside our rows."""

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.benchmark import resolve
from benchmarks.config import BenchConfig
from benchmarks.fairness import _same_seeds
from benchmarks.finished import images_of
from benchmarks.manifest import cost_of, read_manifest
from benchmarks.report import joined, markdown, named, plot
from benchmarks.tables import table
from lua_lightning.errors import UserError
from tests.benchmarks.finished_run import results_of_three
from tests.conftest import write_photo_set

HEAD = "method,file,prompt,seed,seconds,device,memory_mib"
LINES = ("pid,b.png,1,43,2.5,NVIDIA H100,9000", "pid,a.png,0,42,1.5,NVIDIA H100,", "kontext,c.png,0,7,9,RTX 4090,")


@pytest.fixture
def written(tmp_path):
    for name in "abc":
        Image.new("RGB", (300, 260)).save(tmp_path / f"{name}.png")

    def write(*lines):
        (tmp_path / "images.csv").write_text("\n".join((HEAD, *(lines or LINES))) + "\n")
        return tmp_path / "images.csv"

    return write


def test_images_come_in_the_order_of_prompts_with_what_they_took(written, tmp_path):
    found = read_manifest(written(), prompts=2, side=256)
    assert [image.file.name for image in found["pid"]] == ["a.png", "b.png"]
    assert cost_of(found["pid"]) == {
        "seconds": {"total": 2.0}, "seconds_spread": {"low": 1.5, "high": 2.5}, "peak_memory_mib": 9000.0,
        "device": "NVIDIA H100", "seeds": [42, 43], "prompts": [0, 1],
    }  # fmt: skip
    assert "peak_memory_mib" not in cost_of(found["kontext"])
    entries = [dict(zip(HEAD.split(","), line.split(","), strict=True)) for line in LINES]
    (tmp_path / "images.json").write_text(json.dumps(entries))
    assert read_manifest(tmp_path / "images.json", 2) == found
    assert len(read_manifest(written(), prompts=1)["pid"]) == 1


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (("pid,a.png,0,42,,GPU,",), "entry 1 has no seconds: each image needs method, file"),
        (("pid,a.png,0,42,fast,GPU,",), "seconds is 'fast' and must be a number from 0 on"),
        (("pid,a.png,0,42,-1,GPU,",), "seconds is '-1'"),
        (("pid,a.png,0.5,42,1,GPU,",), "prompt is '0.5' and must be a whole number"),
        (("pid,a.png,0,42,1,GPU,", "pid,b.png,0,42,1,GPU,"), "entry 2: pid has prompt 0 twice"),
        (("pid,nowhere.png,0,42,1,GPU,",), "entry 1: .*nowhere.png.*mend the file or leave it out"),
        (("pid,a.png,5,42,1,GPU,",), "has no image of the 2 prompts: number them from 0"),
    ],
)
def test_a_wrong_entry_is_named(written, lines, match):
    with pytest.raises(UserError, match=match):
        read_manifest(written(*lines), prompts=2)


def test_what_is_no_manifest_is_refused(written, tmp_path):
    with pytest.raises(UserError, match="a side of 260 px, and 1024 px are compared"):
        read_manifest(written(), prompts=2, side=1024)
    for content in ("{}", "[]", "[1]", "{"):
        (tmp_path / "m.json").write_text(content)
        with pytest.raises(UserError, match=r"m\.json"):
            read_manifest(tmp_path / "m.json", 2)
    with pytest.raises(UserError, match="cannot be read as a manifest"):
        read_manifest(tmp_path / "nothing.csv", 2)


def test_a_benchmark_takes_its_rows(written, tmp_path):
    photos = write_photo_set(tmp_path / "photos", ["train", "val", "test"], size=512)
    config = BenchConfig(photos=str(photos), out=str(tmp_path / "runs"), methods=("lua",))
    benchmark = resolve(dataclasses.replace(config, manifest=str(written())))
    assert {name: len(images) for name, images in benchmark.timed.items()} == {"pid": 2, "kontext": 1}
    assert benchmark.folder != resolve(config).folder
    assert _same_seeds(benchmark, cost_of(benchmark.timed["pid"]))
    assert not _same_seeds(benchmark, cost_of(benchmark.timed["kontext"]))
    with pytest.raises(UserError, match="lua is a row of the benchmark, so the method needs another name"):
        resolve(dataclasses.replace(config, manifest=str(written("lua,a.png,0,42,1,GPU,"))))


def test_the_device_stands_beside_the_method(written):
    results = results_of_three(["a lake", "a hill"])
    manifest = read_manifest(written(), 2)
    entry = {"kid/effnet-lite0": {"value": 0.01, "low": 0.0, "high": 0.02}}
    row = {"method": "pid", "track": "generation", "size": 512, "n": 2, "metrics": entry, **cost_of(manifest["pid"])}
    del row["peak_memory_mib"]
    results["rows"].append(row)
    assert "| pid (NVIDIA H100) | 2 | 0.0100 [0.0000, 0.0200] | 2.00 | - |" in markdown(results)
    assert "pid (NVIDIA H100) & 2" in table(results, "latex", ["generation"], [])
    assert ",2.0,1.5,2.5,,NVIDIA H100" in table(results, "csv", ["generation"], [])
    point = joined(results, "kid/effnet-lite0")[-1]
    assert named(dataclasses.asdict(point)) == "pid (NVIDIA H100)"
    (axes,) = plot(results, "kid/effnet-lite0").axes
    weights = {text.get_text(): text.get_weight() for text in axes.texts}
    assert weights["pid (NVIDIA H100)"] == "normal"  # the best of all values is not on the front of another device
    assert "bold" in weights.values()


def test_a_finished_benchmark_finds_the_images_again(written, tmp_path):
    results = results_of_three(["a lake", "a hill"])
    results["config"] = {"folders": {}, "manifest": str(written())}
    results["rows"] = [{"method": name, "track": "generation"} for name in ("pid", "kontext")]
    assert images_of(Path("nowhere"), results) == {"pid": (tmp_path / "a.png", tmp_path / "b.png")}

import dataclasses
import json
import os
from pathlib import Path

import mlflow
import pytest
import torch

from benchmarks import generation
from benchmarks.__main__ import main
from benchmarks.benchmark import resolve
from benchmarks.config import BenchConfig
from benchmarks.finished import crops_of
from benchmarks.store import image_path
from lua_lightning.config import load_config
from lua_lightning.generators.catalogue import GENERATORS
from lua_lightning.generators.tiny_sdxl import build_tiny_sdxl
from lua_lightning.locks import alone
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from tests.conftest import write_photo_set
from tests.lua_lightning.generators.pipelines import SMALL_SDXL

METHODS = ["latent-bicubic", "lua", "hidiffusion"]


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """A benchmark that takes seconds: two prompts at few steps, on photographs large enough for one crop each."""
    pipe = build_tiny_sdxl(dataclasses.replace(SMALL_SDXL, latent_channels=16))
    pipe.save_pretrained(tmp_path / "generator")
    small = dataclasses.replace(GENERATORS["tiny-sdxl"], source=str(tmp_path / "generator"))
    monkeypatch.setitem(GENERATORS, "tiny-sdxl", small)
    photos = write_photo_set(tmp_path / "photos", ["train", "val", "test", "test"], size=512)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return [
        "512",
        f"methods={json.dumps(METHODS)}",
        "prompts=2",
        "steps=2",
        "crops_per_photo=1",
        f"photos={photos}",
        "out=runs",
    ]


def results_of(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def without_timings(path):
    content = json.loads(Path(path).read_text())
    for row in content["rows"]:
        for key in ("seconds", "seconds_spread", "peak_memory_mib"):
            row.pop(key, None)
    return content


def check_fairness_and_crops(content, folder):
    fair = content["fairness"]
    assert fair["start"]["same_prompts_and_seeds"]
    assert fair["start"]["from_the_same_latents"] == ["latent-bicubic", "lua"]
    assert fair["warm_ups"] == {"latent-bicubic": [1], "lua": [1]}
    assert fair["seconds"]["sampled_once_for_all"]["lua"] == ["generate"]
    assert fair["precision"]["adapter"] == "float32"
    assert fair["threads"] == [content["threads"]]
    assert fair["devices"] == [content["device"]]
    assert fair["images"]["generation"] == {"latent-bicubic": 2, "lua": 2}
    assert (fair["near_duplicates"]["train"], fair["near_duplicates"]["judged"]) == (1, 2)
    shown = crops_of(folder, content)
    assert {name: len(files) for name, files in shown.items()} == dict.fromkeys(
        ("ceiling", "photo-bicubic", "latent-bicubic", "lua", "photograph"), 2
    )


def check_names_and_what_the_parent_carries(parent, children, lua, generated, difference):
    names = {child.data.tags["method"]: child.info.run_name for child in children}
    assert names["lua"].startswith("lua 512 methods=latent-bicubic,lua,hidiffusion steps=2 ")
    assert parent.info.run_name.startswith("bench-512 methods=")
    carried = parent.data.metrics
    assert carried["bench/512/lua/psnr"] == pytest.approx(lua["psnr"]["value"])
    assert carried["bench/512/lua/seconds/total"] == pytest.approx(generated["seconds"]["total"])
    assert carried["bench/512/lua-minus-latent-bicubic/psnr"] == pytest.approx(difference["value"])
    assert carried["bench/512/lua-minus-latent-bicubic/psnr/low"] == pytest.approx(difference["low"])


def test_a_benchmark_ends_with_rows_report_and_one_line(arguments, capsys):
    assert main(arguments) == 0
    line = results_of(capsys)
    content = json.loads(Path(line["results"]).read_text())
    rows = {(row["method"], row["track"]): row for row in content["rows"]}
    assert set(rows) == {
        (name, track) for name in ("latent-bicubic", "lua") for track in ("reconstruction", "generation")
    } | {("ceiling", "reconstruction"), ("photo-bicubic", "reconstruction")}
    assert "other layers" in content["failures"]["hidiffusion"]
    lua = rows["lua", "reconstruction"]["metrics"]
    assert 0 < lua["recovery"]["value"] < 1
    assert lua["psnr"]["low"] <= lua["psnr"]["value"] <= lua["psnr"]["high"]
    assert "unavailable" in lua["lpips/alex"] or lua["lpips/alex"]["value"] > 0
    difference = content["differences"]["latent-bicubic"]["psnr"]
    bicubic = rows["latent-bicubic", "reconstruction"]["metrics"]["psnr"]["value"]
    assert difference["value"] == pytest.approx(lua["psnr"]["value"] - bicubic)
    assert difference["lua_is"] == "better"
    generated = rows["lua", "generation"]
    assert generated["n"] == 2
    assert {"generate", "upscale", "decode", "total"} == set(generated["seconds"])
    assert "note" in generated["metrics"]["fid/effnet-lite0"]
    assert set(generated["metrics"]["kid/effnet-lite0"]) == {"value"}  # two images give no interval
    assert content["pairs"]["latent-bicubic"]["lua"]["psnr"]["value"] == pytest.approx(-difference["value"])
    check_fairness_and_crops(content, Path(line["results"]).parent)
    assert Path(line["report"]).stat().st_size > 50_000
    client = mlflow.MlflowClient()
    parent = client.get_run(line["run_id"])
    inputs = {item.dataset.name: item.dataset for item in parent.inputs.dataset_inputs}
    assert set(inputs) == {"prompts", "photographs"}
    assert content["config"]["photos"] in inputs["photographs"].source
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{line['run_id']}'")
    numbers = {child.data.tags["method"]: child.data.metrics for child in children}
    assert set(numbers) == {"latent-bicubic", "lua", "ceiling", "photo-bicubic"}
    assert numbers["lua"]["bench/512/psnr"] == pytest.approx(lua["psnr"]["value"])
    assert numbers["lua"]["bench/512/seconds/total"] == pytest.approx(generated["seconds"]["total"])
    check_names_and_what_the_parent_carries(parent, children, lua, generated, difference)
    artifacts = {item.path for item in client.list_artifacts(line["run_id"])}
    assert {"results.json", "results.md", "report.html", "fidelity.png", "prompts.txt"} <= artifacts
    assert "lua" in (Path(line["results"]).parent / "results.md").read_text()


def test_a_killed_benchmark_goes_on_with_what_is_missing(arguments, capsys, monkeypatch):
    assert main(arguments) == 0
    whole = without_timings(results_of(capsys)["results"])
    folder = next(Path("runs").iterdir())
    (scores,) = folder.glob("reconstruction/lua-*.json")
    for path in (image_path(folder, "lua", 1), scores):
        path.unlink()
    kept = image_path(folder, "lua", 0).stat().st_mtime_ns
    asked = []
    make = generation._make
    monkeypatch.setattr(generation, "_make", lambda *args: asked.append(args[3]) or make(*args))
    assert main(arguments) == 0
    assert [(job.method, job.index) for job in asked] == [("lua", 1)]
    assert image_path(folder, "lua", 0).stat().st_mtime_ns == kept
    assert without_timings(results_of(capsys)["results"]) == whole


def test_new_weights_under_an_old_name_make_new_images_and_scores(arguments, capsys, tmp_path):
    torch.manual_seed(0)
    runs = []
    for _ in range(2):
        adapter = LatentUpscaler(AdapterConfig.sized("tiny", channels=16))
        adapter.heads["x2"].conv_last.bias.data.normal_()
        adapter.save_pretrained(tmp_path / "adapter")
        assert main([*arguments, f"adapter={tmp_path / 'adapter'}"]) == 0
        content = json.loads(Path(results_of(capsys)["results"]).read_text())
        psnr = {row["method"]: row["metrics"]["psnr"]["value"] for row in content["rows"] if "psnr" in row["metrics"]}
        (folder,) = Path("runs").iterdir()
        runs.append((psnr["lua"], *(image_path(folder, name, 0).stat().st_mtime_ns for name in METHODS[:2])))
    before, after = runs
    assert after[0] != before[0]  # the adapter's score
    assert after[1] == before[1]  # the image of latent bicubic, which has no adapter
    assert after[2] != before[2]


def test_a_second_process_on_the_same_benchmark_is_told_who_makes_it(arguments, capsys):
    benchmark = resolve(load_config(BenchConfig, None, ["size=512", *arguments[1:]]))
    with alone(benchmark.folder):
        assert main(arguments) == 2
    said = capsys.readouterr().err
    assert f"{benchmark.folder} is in use by process {os.getpid()}" in said
    assert not (benchmark.folder / "results.json").exists()
    assert not (benchmark.folder / "mlflow").exists()


def test_one_methods_failure_is_its_row_alone(arguments, capsys, monkeypatch):
    make = generation._make

    def broken(benchmark, method, *rest):
        if method.name == "lua":
            raise RuntimeError("CUDA out of memory. Tried to allocate 3 TiB")
        return make(benchmark, method, *rest)

    monkeypatch.setattr(generation, "_make", broken)
    assert main(arguments) == 0
    content = json.loads(Path(results_of(capsys)["results"]).read_text())
    assert content["failures"]["lua"] == "out of memory"
    assert [row["method"] for row in content["rows"] if row["track"] == "generation"] == ["latent-bicubic"]


def test_a_folder_without_images_is_told_before_anything_is_made(arguments, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert main([*arguments, "folders.mine=empty"]) == 2
    assert "empty holds no images" in capsys.readouterr().err
    assert not list(Path("runs").rglob("*.png"))

"""What a benchmark is called in MLflow, and what its parent run carries."""

import copy
import dataclasses
from pathlib import Path

import pytest

from benchmarks.benchmark import resolve
from benchmarks.config import BenchConfig
from benchmarks.recording import changed, deciding
from lua_lightning.tracking.names import NAME_PATTERN
from tests.benchmarks.test_bench_report import RESULTS
from tests.conftest import write_photo_set


def test_the_parent_carries_scored_numbers_and_paired_differences():
    results = copy.deepcopy(RESULTS)
    results["rows"][0]["metrics"]["colour_shift"] = {"value": 1.0, "low": 0.5, "high": 1.5}
    results["rows"].append(copy.deepcopy(results["rows"][2]) | {"method": "a user's = own"})
    found = deciding(results)
    assert found["bench/512/lua/psnr"] == 32.0
    assert found["bench/512/lua/kid/effnet-lite0"] == 0.1234
    assert found["bench/512/latent-bicubic/seconds/total"] == 1.5
    assert found["bench/512/lua-minus-latent-bicubic/psnr"] == 6.0
    assert found["bench/512/lua-minus-latent-bicubic/psnr/high"] == 7.0
    assert "bench/512/lua/colour_shift" not in found
    assert all(NAME_PATTERN.fullmatch(name) for name in found)


@pytest.fixture
def config(tmp_path):
    photos = write_photo_set(tmp_path / "photos", ["train", "val", "test"], size=512)
    return BenchConfig(photos=str(photos), out=str(tmp_path / "runs"))


def test_a_benchmark_is_named_by_what_differs_from_its_size(config, tmp_path):
    def names(**changes):
        return changed(resolve(dataclasses.replace(config, **changes)))

    (tmp_path / "mine.txt").write_text("a\nb\nc\n")
    assert names() == []
    assert names(methods=("lua",)) == ["methods=lua"]
    assert names(methods=("lua", "lsr", "direct", "native"), steps=20) == ["methods=4 of 14", "steps=20"]
    assert names(prompts_file=str(tmp_path / "mine.txt"), prompts=3) == ["prompts=3", "prompts_file=mine.txt"]
    assert names(settings={"swinir": []}, crops_per_photo=1) == ["settings=swinir", "crops_per_photo=1"]
    assert Path(config.out).is_dir()

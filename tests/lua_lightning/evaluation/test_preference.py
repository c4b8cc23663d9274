"""Models of preference, through packages that stand in for the real ones with their interfaces."""

import os

import pytest

from lua_lightning.errors import UserError
from lua_lightning.evaluation.preference import JUDGES, judge, preference_metrics
from lua_lightning.evaluation.registry import METRICS, keys_of

PYIQA = """
import os
print("Loading pretrained model ...")
SCORES = {"musiq": 10.0, "qalign": 1.0, "laion_aes": 5.0}
class Metric:
    def __init__(self, name):
        self.base = SCORES[name]
    def __call__(self, path):
        return [self.base + os.path.getsize(path)][0]
def create_metric(name, device=None):
    if os.environ.get("BREAK") == name:
        raise RuntimeError("no weights for " + name)
    return Metric(name)
"""
HPSV3 = """
class HPSv3RewardInferencer:
    def __init__(self, device="cuda"):
        assert device == "cpu"
    def reward(self, prompts, image_paths):
        return [(-float(len(prompt)), 9.0) for prompt, path in zip(prompts, image_paths)]
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Stand-ins on the path of this process, which the other one is given."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "pyiqa.py").write_text(PYIQA)
    (folder / "hpsv3.py").write_text(HPSV3)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def files(tmp_path):
    paths = tuple(tmp_path / f"{size}.png" for size in (1, 2, 3))
    for size, path in enumerate(paths, 1):
        path.write_bytes(b"x" * size)
    return paths


def test_every_model_of_the_table_has_its_package():
    assert list(JUDGES) == list(keys_of("preference"))
    assert all(METRICS[name].source.endswith(model.package) for name, model in JUDGES.items())


def test_each_model_is_asked_in_a_process_of_its_own(installed, files):
    found = preference_metrics(files, ("a", "bb", "ccc"))
    assert {name: entry["value"] for name, entry in found.items()} == {
        "musiq": 12.0, "q_align": 3.0, "laion_aesthetic": 7.0, "hpsv3": -2.0,
    }  # fmt: skip
    assert found["musiq"]["low"] < 12 < found["musiq"]["high"]


def test_a_model_of_prompts_gets_them_in_order(installed, files):
    assert judge("hpsv3", files, ("a", "bb", "ccc")) == [-1.0, -2.0, -3.0]
    with pytest.raises(UserError, match="each image needs its prompt"):
        judge("hpsv3", files, ("a",))


def test_a_failure_ends_in_one_sentence_and_only_that_metric(installed, files, monkeypatch):
    monkeypatch.setenv("BREAK", "musiq")
    with pytest.raises(UserError, match=r"pyiqa failed \(RuntimeError: no weights for musiq\)"):
        judge("musiq", files)


def test_without_the_package_the_command_is_named(files):
    found = preference_metrics(files, ("a", "bb", "ccc"))
    assert found["musiq"] == {"unavailable": "the package pyiqa is not installed: pip install pyiqa"}
    assert found["hpsv3"] == {"unavailable": "the package hpsv3 is not installed: pip install hpsv3"}

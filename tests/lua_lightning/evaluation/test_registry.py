"""The table of metrics: its keys are contracts, its labels are spelled nowhere else."""

import ast
import re
from pathlib import Path

import pytest

from lua_lightning.errors import UserError
from lua_lightning.evaluation import registry
from lua_lightning.evaluation.intervals import Estimate
from lua_lightning.evaluation.registry import METRICS, NETWORKS, keys_of, label_of, metric_of, why_unavailable

PLACES = ("lua_lightning", "benchmarks", "baselines", "docs")


def strings(path: Path):
    """Yield the line and text of every string in a Python file that is not a docstring."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_a_label_is_spelled_once():
    """Everything that prints a metric's name reads the table. Words that are also keys are left out."""
    labels = {metric.label for metric in METRICS.values()} | {network.label for network in NETWORKS.values()}
    labels -= {*METRICS, "time", "memory"}
    word = re.compile(rf"(?<![\w/-])(?:{'|'.join(map(re.escape, sorted(labels)))})(?![\w/])")
    table = Path("lua_lightning/evaluation/registry.py")
    found = [
        f"{path}:{line}: {text}"
        for place in PLACES
        for path in sorted(Path(place).rglob("*.py"))
        if path != table
        for line, text in strings(path)
        if word.search(text)
    ]
    assert found == []
    for label in labels:
        assert sum(text == label for _, text in strings(table)) <= 2, label


def test_keys_are_the_names_that_results_and_mlflow_have():
    assert list(keys_of("pairs")) == [
        "psnr", "ssim", "colour_shift", "recovery", "lpips/alex", "lpips/vgg", "dists/vgg-l2",
        "perceptual/effnet-lite0",
    ]  # fmt: skip
    assert set(keys_of("sets", "prompts")) == {
        "fid/inception", "kid/inception", "patch-fid/inception", "patch-kid/inception",
        "fid/effnet-lite0", "kid/effnet-lite0", "patch-fid/effnet-lite0", "patch-kid/effnet-lite0", "clip/vit-b-32",
        "fd/dinov2-vitl14", "kid/dinov2-vitl14", "patch-fd/dinov2-vitl14", "patch-kid/dinov2-vitl14",
        "cmmd/clip-vitl14-336", "patch-cmmd/clip-vitl14-336",
    }  # fmt: skip
    assert set(keys_of("images")) == {"sharpness", "glcm", "tile_seam", "clipped"}
    assert set(keys_of("votes")) == {"win_rate", "preference"}
    assert {key for key, metric in METRICS.items() if metric.higher_is_better} == {
        "psnr", "ssim", "recovery", "clip", "win_rate", "preference", "sharpness", "glcm",
        "musiq", "q_align", "laion_aesthetic", "hpsv3",
    }  # fmt: skip
    assert all(metric.source for metric in METRICS.values())


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("psnr", "PSNR, dB"),
        ("x2/psnr", "x2 PSNR, dB"),
        ("x4/perceptual/effnet-lite0", "x4 perceptual (EffNet-Lite0)"),
        ("patch-kid/inception", "patch-KID (Inception)"),
        ("x2/out_of_range", "x2 out of range, %"),
    ],
)
def test_a_key_has_a_label_at_any_scale(key, label):
    assert label_of(key) == label


@pytest.mark.parametrize("key", ["psrn", "fid", "fid/alex", "x2/psnr/inception", "lpips/alexnet"])
def test_an_unknown_metric_is_refused_with_the_known_ones(key):
    with pytest.raises(UserError, match=r"unknown metric .*known: clip/vit-b-32, clipped, cmmd/"):
        metric_of(key)


def test_the_clip_weights_are_where_open_clip_has_them():
    import open_clip

    weights = open_clip.get_pretrained_cfg(registry.CLIP_MODEL, "openai")
    assert weights["hf_hub"].strip("/") == registry.CLIP_REPOSITORY


def test_values_are_printed_by_the_table():
    psnr, beyond = metric_of("x2/psnr"), metric_of("out_of_range")
    assert psnr.text(31.874) == "31.87"
    assert psnr.fine(0.0014) == "0.001"
    assert psnr.estimate(Estimate(31.874, 30.0, 33.456)) == "31.87 [30.00, 33.46]"
    assert psnr.difference(Estimate(0.2, -0.1, 0.5)) == "+0.200 [-0.100, +0.500]"
    assert beyond.text(0.0123) == "1.23"


def test_what_a_metric_lacks_is_told_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "INCEPTION_FOLDER", tmp_path)
    assert why_unavailable("psnr") is None
    assert why_unavailable("x2/perceptual/effnet-lite0") is None
    assert "fetch them with `make inception`" in (why_unavailable("fid/inception") or "")
    (tmp_path / registry.INCEPTION_FILE).touch()
    assert why_unavailable("fid/inception") is None
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    assert why_unavailable("lpips/alex") == ("the package lpips is not installed: pip install 'lua-lightning[metrics]'")

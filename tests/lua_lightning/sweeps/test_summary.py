import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import t

from lua_lightning.evaluation.intervals import (
    CropScores,
    paired_differences,
    paired_differences_over_seeds,
    write_scores,
)
from lua_lightning.sweeps.plan import load_plan
from lua_lightning.sweeps.summary import csv_text, markdown, summarise_sweep, tracked

CROPS = 8


def crops(offset=0.0, noise=0.0, seed=0):
    random = np.random.default_rng(seed)
    return [
        CropScores(n, n // 2, {"x2/psnr": 30 + n + offset + noise * random.normal(), "x2/ssim": 0.5 + 0.01 * offset})
        for n in range(CROPS)
    ]


@pytest.fixture
def plan(tmp_path):
    """Three variants with two seeds each, of which nothing is trained yet."""
    path = tmp_path / "sweep.yaml"
    variants = {"full": {}, "less": {"settings": ["loss.pixel_fft=0"]}, "none": {"settings": ["loss.pixel_l1=0"]}}
    content = {
        "name": "test",
        "base": str(Path("experiments/stage3.yaml").resolve()),
        "reference": "full",
        "variants": variants,
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_plan(path, [f"runs={tmp_path / 'runs'}"])


def finish(run, scores):
    (run.folder / "stage").mkdir(parents=True)
    write_scores(run.folder / "stage/scores.json", scores)
    results = {"adapter": str(run.folder / "stage/adapter"), "stages": {"stage3": {"hours": 0.5}}}
    (run.folder / "results.json").write_text(json.dumps(results))


def test_a_variant_is_its_mean_and_deviation_and_the_paired_difference(plan):
    for seed, offset in ((0, 0.0), (1, 0.4)):
        finish(plan.of("full")[seed], crops(offset))
        finish(plan.of("less")[seed], crops(offset - 0.25))
    summary = summarise_sweep(plan)
    assert list(summary.cells) == ["full", "less"]
    cell = summary.cells["less"]["x2/psnr"]
    means = [np.mean([crop.values["x2/psnr"] for crop in crops(offset - 0.25)]) for offset in (0.0, 0.4)]
    assert cell.mean == pytest.approx(np.mean(means))
    assert cell.std == pytest.approx(np.std(means, ddof=1))
    # The seeds differ by far more than the variants: only pairing shows it.
    assert (cell.difference.value, cell.difference.low, cell.difference.high) == pytest.approx((-0.25, -0.25, -0.25))
    assert cell.clear
    assert summary.cells["full"]["x2/psnr"].difference is None
    table = markdown(plan, summary)
    assert "| full (reference) | 2 | 600 | 0.50 | **33.700 ± 0.283** |" in table
    assert "33.450 ± 0.283<br>-0.250 [-0.250, -0.250]\\*" in table


def test_only_what_is_clear_of_zero_has_a_star(plan):
    finish(plan.of("full")[0], crops())
    finish(
        plan.of("less")[0], [*crops(0.5)[: CROPS // 2], *crops(-0.5)[CROPS // 2 :]]
    )  # better on half of the photographs
    summary = summarise_sweep(plan)
    cell = summary.cells["less"]["x2/psnr"]
    assert cell.difference.low < 0 < cell.difference.high
    assert not cell.clear
    assert cell.std is None
    line = next(line for line in markdown(plan, summary).splitlines() if line.startswith("| less"))
    assert "]\\*" not in line
    assert ",False" in csv_text(summary)


def test_differences_are_over_the_seeds_that_both_have(plan):
    finish(plan.of("full")[1], crops(1.0))
    finish(plan.of("less")[0], crops(0.0))
    finish(plan.of("less")[1], crops(1.5))
    assert summarise_sweep(plan).cells["less"]["x2/psnr"].difference.value == pytest.approx(0.5)


def test_csv_and_mlflow_have_the_same_numbers(plan):
    for seed in (0, 1):
        for number, variant in enumerate(plan.variants):
            finish(plan.of(variant)[seed], crops(number / 3, noise=0.1, seed=7 * seed + number))
    summary = summarise_sweep(plan)
    logged = tracked(summary)
    lines = [line.split(",") for line in csv_text(summary).splitlines()]
    read = {
        f"{line[0]}/{line[1]}/{kind}": float(value)
        for line in lines[1:]
        for kind, value in zip(lines[0][2:8], line[2:8], strict=True)
        if value
    }
    assert read == logged
    assert logged["none/x2/psnr/n"] == 2


def test_a_metric_that_only_some_trainings_have_is_left_out_of_the_differences(plan):
    """The weights of a metric may arrive during a sweep."""
    for seed in (0, 1):
        for variant in ("full", "less"):
            scores = crops(0.1 * seed)
            if seed:
                scores = [replace(crop, values={**crop.values, "x2/perceptual/effnet-lite0": 0.2}) for crop in scores]
            finish(plan.of(variant)[seed], scores)
    cells = summarise_sweep(plan).cells["less"]
    assert set(cells["x2/perceptual/effnet-lite0"].values) == {1}
    assert cells["x2/perceptual/effnet-lite0"].difference is None
    assert cells["x2/psnr"].difference is not None


def test_one_training_is_the_plain_paired_difference():
    ours, theirs = crops(0.3, noise=0.5, seed=1), crops()
    assert paired_differences_over_seeds([ours[::-1]], [theirs]) == paired_differences(ours, theirs)


def test_the_interval_holds_what_depends_on_the_seed():
    base = [crops() for _ in range(3)]
    same = [crops(0.2) for _ in range(3)]
    spread = [crops(offset) for offset in (-0.4, 0.2, 0.8)]
    narrow = paired_differences_over_seeds(same, base)["x2/psnr"]
    wide = paired_differences_over_seeds(spread, base)["x2/psnr"]
    assert narrow.high - narrow.low == pytest.approx(0.0, abs=1e-9)
    assert wide.value == pytest.approx(0.2)
    # Student's t of the three: the photographs add nothing.
    expected = t.interval(0.95, 2, 0.2, np.std([-0.4, 0.2, 0.8], ddof=1) / np.sqrt(3))
    assert (wide.low, wide.high) == pytest.approx(expected)

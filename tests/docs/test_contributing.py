"""CONTRIBUTING.md does what it says: its code blocks, applied to a copy, add what its headings promise."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("lua_lightning", "baselines", "benchmarks", "data", "experiments")
BLOCK = re.compile(r"^`([\w/.]+)`, (a new file|above `([^\n]+)`):\n\n```\w+\n(.*?)```", re.MULTILINE | re.DOTALL)

CHECK = """
import argparse, sys, tempfile
from pathlib import Path
import torch

from lua_lightning.config import RunConfig, load_config
from lua_lightning.evaluation.registry import keys_of, label_of
from lua_lightning.evaluation.scoring import image_scores
from lua_lightning.models.codec import LatentCodec
from lua_lightning.training.checks import check_run
from lua_lightning.training.losses import TERMS, compute_terms

ones = torch.ones(1, 3, 16, 16)
config = load_config(RunConfig, Path("experiments/quick.yaml"), ["loss.pixel_charbonnier=10"])
check_run(config)
terms = compute_terms({"latent": (ones, ones), "pixel": (ones, 0 * ones)}, config.loss, config.loss_options, 2)
assert abs(float(terms["pixel_charbonnier"]) - (1 + 1e-6) ** 0.5) < 1e-6

from baselines.registry import METHODS, build_method
from types import SimpleNamespace
world = SimpleNamespace(decode=lambda latents: latents, settings={})
nearest = build_method("nearest", world)
from baselines.clock import Clock
made = nearest.make(SimpleNamespace(latents=ones * torch.arange(16.0)), 32, Clock(torch.device("cpu")))
assert made.shape == (1, 3, 32, 32) and made[0, 0, 0, :4].tolist() == [0, 0, 1, 1]

assert abs(float(image_scores(ones, ones - 2 / 255, ())["mae"]) - 1) < 1e-4
assert "mae" in keys_of("pairs") and label_of("x2/mae") == "x2 MAE, levels"

from diffusers import AsymmetricAutoencoderKL
small = dict(block_out_channels=(8,), norm_num_groups=2)
model = AsymmetricAutoencoderKL(
    down_block_out_channels=(32, 32), up_block_out_channels=(32, 32), layers_per_down_block=1, layers_per_up_block=1,
    down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
)
codec = LatentCodec.of(model, "asymmetric")
assert codec.decode(codec.encode(torch.zeros(1, 3, 32, 32))).shape[1] == 3

from data.__main__ import main
with tempfile.TemporaryDirectory() as folder:
    assert main(["checkers", "--count", "12", "--out", folder + "/set"]) in (0, None)
    from lua_lightning.pairs.photos import PhotoSet
    assert PhotoSet.load(folder + "/set").recipe == "checkers"
print("all six are there")
"""


def apply(root: Path, path: str, above: str, code: str) -> None:
    """Write a new file, or insert code above the line that begins with `above`."""
    target = root / path
    if not above:
        assert not target.exists(), f"{path} is there already"
        target.write_text(code)
        return
    lines = target.read_text().splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if line.strip().startswith(above)]
    assert len(places) == 1, f"{path} has {len(places)} lines that begin with {above}"
    target.write_text("".join([*lines[: places[0]], code, *lines[places[0] :]]))


def weights_and_photographs(folder: str, names: list[str]) -> list[str]:
    """Return what of a folder is not code."""
    photographs = [name for name in names if (Path(folder) / name / "manifest.json").exists()]
    return [name for name in names if name in ("zoo", "__pycache__")] + photographs


@pytest.fixture(scope="module")
def blocks():
    return BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def test_every_section_has_its_blocks(blocks):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## Add (?:a|an) .*?(?=^## )", text, re.MULTILINE | re.DOTALL)
    assert len(sections) == 6
    assert all(BLOCK.search(section) for section in sections)
    assert len(blocks) == len(re.findall(r"```(?:python|yaml)", text))  # none is written in a way that is not applied


def test_what_the_page_says_works(blocks, tmp_path):
    for name in CODE:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=weights_and_photographs)
    (tmp_path / "lua_lightning/zoo").symlink_to(ROOT / "lua_lightning/zoo")
    for path, _, above, code in blocks:
        apply(tmp_path, path, above, code)
    done = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.endswith("all six are there\n"), done.stderr[-3000:]

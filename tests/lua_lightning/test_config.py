from pathlib import Path

import pytest

from lua_lightning.config import RunConfig, load_config, to_yaml
from lua_lightning.errors import UserError
from lua_lightning.training.checks import check_run

EXPERIMENTS = [*sorted(Path("experiments").glob("**/stage[123].yaml")), Path("experiments/transfer.yaml")]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=str)
def test_every_experiment_file_is_valid(path):
    check_run(load_config(RunConfig, path))


def test_experiments_are_found():
    assert Path("experiments/stage1.yaml") in EXPERIMENTS
    assert Path("experiments/paper/stage3.yaml") in EXPERIMENTS


PUBLISHED = {  # loss, pairs per update on 8 GPUs, betas
    "stage1": ({"latent_l1": 1.0, "latent_fft": 0.1}, 2048, (0.9, 0.995)),
    "stage2": (
        {"latent_l1": 1.0, "latent_fft": 0.1, "pixel_downsample": 0.1, "pixel_high_frequency": 0.05}, 32, (0.9, 0.995)
    ),
    "stage3": ({"pixel_l1": 10.0, "pixel_fft": 1.0, "pixel_eagle": 5e-5}, 32, (0.9, 0.99)),
}  # fmt: skip


@pytest.mark.parametrize("stage", PUBLISHED)
def test_the_paper_files_are_the_published_recipe(stage):
    config = load_config(RunConfig, Path(f"experiments/paper/{stage}.yaml"))
    loss, pairs, betas = PUBLISHED[stage]
    assert config.loss == loss
    assert config.train.batch_size * config.train.accumulate * 8 == pairs
    assert (config.optim.name, config.optim.learning_rate, config.optim.betas) == ("adam", 2e-4, betas)
    assert config.optim.milestones == (62500, 93750, 112500)
    assert (config.train.steps, config.optim.gradient_clip, config.optim.ema_decay) == (125000, 0.4, 0.999)
    assert round(config.train.joint_fraction * config.train.steps) == 125000 - 50000
    assert (config.cache.codec, config.cache.sampling) == ("flux", "grid")
    assert (config.adapter.size, config.adapter.skip) == ("paper", "none")


def test_overrides_win_and_round_trip_through_yaml(tmp_path):
    config = load_config(RunConfig, Path("experiments/stage1.yaml"), ["train.steps=9", "loss.latent_fft=0.5"])
    assert (config.train.steps, config.loss) == (9, {"latent_l1": 1.0, "latent_fft": 0.5})
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert load_config(RunConfig, path) == config


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.stpes=9", "did you mean 'train.steps'"),
        ("optimizer.name=adam", "did you mean 'optim'"),
        ("train.steps=many", "train.steps"),
        ("train.steps", "write key=value"),
        ("train=9", "must be a mapping"),
    ],
)
def test_mistyped_settings_are_refused_with_the_near_match(override, said):
    with pytest.raises(UserError, match=r".") as caught:
        load_config(RunConfig, Path("experiments/stage1.yaml"), [override])
    assert said in str(caught.value)


def test_a_missing_or_broken_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.yaml cannot be read"):
        load_config(RunConfig, tmp_path / "nothing.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(UserError, match=r"broken\.yaml cannot be read as YAML"):
        load_config(RunConfig, broken)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["loss.latent_l1=0", "loss.latent_fft=0"], "no loss term"),
        (["loss.latent_lp=1"], "did you mean 'latent_l1'"),
        (["loss.latent_l1=-1"], "latent_l1: -1.0"),
        (["adapter.scales=[3]"], "adapter.scales"),
        (["adapter.size=tny"], "did you mean 'tiny'"),
        (["train.steps=10"], "optim.warmup_steps=50"),
        (["optim.schedule=multistep"], "optim.milestones"),
        (["cache.crop_px=100"], "multiple of 32"),
        (["optim.ema_decay=1"], "optim.ema_decay"),
        (["optim.skip_rate=-1"], "optim.skip_rate"),
        (["train.batch_size=0"], "train.batch_size=0"),
        (["train.precision=fp8"], "train.precision"),
        (["adapter.swin_weights=README.md", "adapter.init_from=b"], "set one of them"),
        (["adapter.swin_weights=nowhere.pth"], "adapter.swin_weights=nowhere.pth must be a file that is there"),
    ],
)
def test_contradictions_are_refused(overrides, said):
    with pytest.raises(UserError) as caught:
        check_run(load_config(RunConfig, Path("experiments/stage1.yaml"), overrides))
    assert said in str(caught.value)

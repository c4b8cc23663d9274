from pathlib import Path

import pytest
import torch
import yaml

from lua_lightning.errors import UserError
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.sweeps.plan import load_plan
from lua_lightning.training.chain import load_chain

CHAINS = Path("experiments/chains").resolve()


@pytest.fixture
def sweep(tmp_path):
    def write(**content):
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump({"name": "test", "reference": "full", **content}, sort_keys=False))
        return path

    return write


@pytest.mark.parametrize("path", sorted(Path("experiments/sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_file_resolves(path):
    plan = load_plan(path)
    assert plan.config.name == path.stem
    assert len(plan.runs) == len(plan.variants) * len(plan.config.seeds)


def test_the_loss_sweep_leaves_out_one_kind_of_term_in_every_stage():
    plan = load_plan(Path("experiments/sweeps/losses.yaml"))
    active = {
        variant: {term for stage in plan.of(variant)[0].stages for term, weight in stage.loss.items() if weight}
        for variant in plan.variants
    }
    whole = active["full"]
    left_out = {variant: whole - terms for variant, terms in active.items()}
    assert left_out == {
        "full": set(),
        "no-fft": {"latent_fft", "pixel_fft"},
        "no-lds": {"pixel_downsample"},
        "no-lhf": {"pixel_high_frequency"},
        "no-eagle": {"pixel_eagle"},
    }


def test_every_combination_of_stages_takes_as_many_steps():
    plan = load_plan(Path("experiments/sweeps/stages.yaml"))
    assert {sum(stage.train.steps for stage in run.stages) for run in plan.runs} == {480}


def test_a_setting_of_one_stage_reaches_that_stage_alone(sweep):
    path = sweep(
        base=f"{CHAINS}/full.yaml",
        settings=["train.steps=300"],
        variants={"full": {}, "long": {"settings": ["stage3:train.steps=400", "stage1:loss.latent_fft=0.5"]}},
    )
    plan = load_plan(path)
    first, long = plan.of("full")[0], plan.of("long")[0]
    assert [stage.train.steps for stage in first.stages] == [300, 300, 300]
    assert [stage.train.steps for stage in long.stages] == [300, 300, 400]
    assert [stage.loss.get("latent_fft") for stage in long.stages] == [0.5, 0.1, None]
    assert [run.stages[0].seed for run in plan.of("full")] == [0, 1]


def test_the_sweeps_setting_for_a_stage_does_not_concern_variants_without_it(sweep):
    path = sweep(
        settings=["stage3:train.steps=70"],
        variants={"full": {"chain": f"{CHAINS}/full.yaml"}, "I": {"chain": f"{CHAINS.parent}/stage1.yaml"}},
    )
    plan = load_plan(path)
    assert [len(run.stages) for run in plan.runs] == [3, 3, 1, 1]
    assert plan.of("full")[0].stages[2].train.steps == 70


def test_a_grid_is_every_combination(sweep):
    path = sweep(
        base=f"{CHAINS}/full.yaml",
        seeds=[3],
        reference="stage3:loss.pixel_fft=1.0, adapter.skip=linear",
        grid={"stage3:loss.pixel_fft": [0.5, 1.0], "adapter.skip": ["linear", "bicubic"]},
    )
    plan = load_plan(path)
    found = {(run.stages[2].loss["pixel_fft"], run.stages[0].adapter.skip, run.stages[1].seed) for run in plan.runs}
    assert found == {(0.5, "linear", 3), (0.5, "bicubic", 3), (1.0, "linear", 3), (1.0, "bicubic", 3)}
    assert list(plan.axes) == ["stage3:loss.pixel_fft", "adapter.skip"]
    assert sorted(set(plan.axes["stage3:loss.pixel_fft"].values())) == [0.5, 1.0]


def test_a_runs_folder_depends_on_what_decides_its_result_alone(sweep):
    path = sweep(base=f"{CHAINS}/full.yaml", variants={"full": {}, "no-fft": {"settings": ["loss.pixel_fft=0"]}})

    def folders(*overrides):
        return [run.folder.name for run in load_plan(path, overrides).runs]

    assert folders() == folders("tracking.experiment=other", "cache.folder=elsewhere")
    assert not set(folders()) & set(folders("train.steps=700"))
    assert len(set(folders())) == 4
    more = load_plan(path, seeds=[0, 1, 2])
    assert set(folders()) < {run.folder.name for run in more.runs}
    assert more.folder != load_plan(path).folder


def test_a_runs_folder_depends_on_the_weights_that_it_starts_from(sweep, tmp_path):
    start = tmp_path / "start"
    path = sweep(
        base=str(CHAINS.parent / "transfer.yaml"), settings=[f"adapter.init_from={start}"], variants={"full": {}}
    )

    def folder(seed):
        torch.manual_seed(seed)
        LatentUpscaler(AdapterConfig.sized("tiny", channels=4)).save_pretrained(start)
        return load_plan(path).folder

    first = folder(0)
    assert folder(1) != first
    assert folder(0) == first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"variants": {"full": {}, "typo": {"settings": ["loss.pixel_ftt=0"]}}}, "variant typo: .*pixel_fft"),
        ({"variants": {"full": {}, "typo": {"settings": ["train.stps=3"]}}}, "variant typo: .*train.steps"),
        ({"variants": {"full": {}, "typo": {"settings": ["stage4:train.steps=3"]}}}, "stage4.*stage3"),
        ({"variants": {"full": {}}, "settings": ["stage4:train.steps=3"]}, "stage4"),
        ({"variants": {"full": {}, "none": {"settings": ["train.decode_latents=99"]}}}, "variant none: .*does not fit"),
        ({"variants": {"full": {}, "same": {"settings": ["train.log_every=10"]}}}, "full and same are the same"),
        ({"variants": {"full": {}}, "reference": "ful"}, "did you mean 'full'"),
        ({"variants": {"full": {}}, "metric": "x2/psrn"}, "x2/psnr"),
        ({"variants": {"full": {}}, "seeds": [1, 1]}, "each of them once"),
        ({"variants": {"full": {}}, "settings": ["seed=4"]}, "--seeds"),
        ({"variants": {"full": {}, "I+II": {}, "I II": {}}}, "I\\+II and I II apart"),
        ({"variants": {}}, "nothing to compare"),
        ({"grid": {"optim.learning_rate": []}}, "at least 1"),
        ({"grid": {f"optim.{key}": list(range(100)) for key in ("a", "b", "c")}}, "1000000 combinations"),
        ({"variants": {"full": {}}, "base": ""}, "no chain"),
        ({"variants": {"full": {}}, "base": "missing.yaml"}, "missing.yaml"),
        ({"variants": {"full": {}}, "axes": {}}, "axes"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_begins(sweep, content, message):
    with pytest.raises(UserError, match=message):
        load_plan(sweep(**{"base": f"{CHAINS}/full.yaml", **content}))


def test_an_experiment_file_is_a_chain_of_one_stage():
    chain, runs = load_chain(Path("experiments/stage2.yaml"), ["stage2:train.steps=70"])
    assert chain.name == "stage2"
    assert [(run.stage, run.train.steps, run.adapter.init_from) for run in runs] == [("stage2", 70, None)]

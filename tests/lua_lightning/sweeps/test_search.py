"""The search for loss weights: its first trial, its resume, its result."""

import json
from pathlib import Path

import mlflow
import optuna
import pytest
import yaml

from lua_lightning.cli import main
from lua_lightning.config import RunConfig, load_config
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.sweeps import search as module
from lua_lightning.sweeps.objective import distances
from lua_lightning.sweeps.search import Search
from lua_lightning.training.chain import load_chain


@pytest.fixture
def search_file(tmp_path, settings):
    def write(**more):
        content = {
            "name": "small",
            "base": str(Path("experiments/stage1.yaml").resolve()),
            "settings": [*settings, "train.steps=3"],
            "space": {"stage1:loss.latent_fft": [0.01, 10.0], "stage1:loss.latent_l1": [0.1, 10.0]},
            "trials": 4,
            **more,
        }
        path = tmp_path / "search.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


def test_a_search_goes_on_where_it_was_stopped_and_ends_with_a_chain(search_file, monkeypatch, capsys):
    path = search_file()
    measured = []

    def measure(adapter, run):
        measured.append(adapter)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return {"x2/patch-kid": 0.5 + 0.1 * len(measured), "x4/patch-kid": 0.5}

    monkeypatch.setattr(module, "distances", measure)
    assert main(["search", str(path)]) == 130
    folder = Search(path).folder
    storage = f"sqlite:///{folder / 'optuna.db'}"
    interrupted = optuna.load_study(study_name="small, objective 2", storage=storage).trials[1]
    trained = {found: found.stat().st_mtime for found in folder.glob("trial-*/results.json")}
    assert len(trained) == 2

    assert main(["search", str(path)]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(measured) == 5  # four trials, one of them measured again
    assert measured[2] == measured[1]
    trials = optuna.load_study(study_name="small, objective 2", storage=storage).get_trials(
        states=[optuna.trial.TrialState.COMPLETE]
    )
    assert trials[0].params == {"stage1:loss.latent_fft": 0.1, "stage1:loss.latent_l1": 1.0}  # the published weights
    assert trials[1].params == interrupted.params
    assert len({tuple(trial.params.values()) for trial in trials}) == 4
    assert {found: found.stat().st_mtime for found in trained} == trained
    assert report["best"]["objective"] == report["published"] == pytest.approx(0.55)
    assert sum(report["importances"].values()) == pytest.approx(1)

    client = mlflow.MlflowClient()
    parent = client.get_run(report["run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["objective/best"] == pytest.approx(0.55)
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{report['run_id']}'")
    assert sorted(child.data.metrics["objective"] for child in children) == sorted(trial.value for trial in trials)

    chain, (run,) = load_chain(Path(report["chain"]), [])
    assert chain.name == "small-best"
    assert run.loss["latent_fft"] == pytest.approx(report["best"]["weights"]["stage1:loss.latent_fft"])
    assert run.train.steps == 1800  # the base's own length,
    assert run.cache == Search(path).last.cache  # on the search's own data

    assert main(["search", str(path), "--trials", "4"]) == 0  # nothing left to do
    assert len(measured) == 5


def test_the_distances_of_latent_bicubic_are_one_and_better_is_lower(settings, codec, tmp_path):
    model = LatentUpscaler(AdapterConfig.sized("tiny", channels=codec.channels, codec=codec.source, skip="bicubic"))
    model.save_pretrained(tmp_path / "bicubic")
    run = load_config(RunConfig, Path("experiments/stage1.yaml"), settings)
    found = distances(tmp_path / "bicubic", run)
    assert {"x2/patch-kid", "x4/patch-kid", "x2/perceptual/effnet-lite0"} <= set(found)
    assert list(found.values()) == pytest.approx([1.0] * len(found), abs=1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"space": {}}, "nothing to search"),
        ({"space": {"stage1:loss.latent_fft": [1.0, 0.1]}}, "lowest and a highest"),
        ({"space": {"stage1:loss.latent_ftf": [0.1, 1.0]}}, "latent_fft"),
        ({"space": {"stage4:loss.latent_fft": [0.1, 1.0]}}, "stage4"),
        ({"space": {"loss.latent_fft": [0.1, 1.0]}}, "not a stage's weight of a loss term"),
        ({"space": {"stage1:optim.learning_rate": [0.1, 1.0]}}, "not a stage's weight of a loss term"),
        ({"base": "missing.yaml"}, "missing.yaml"),
    ],
)
def test_what_is_wrong_is_refused(search_file, content, message, capsys):
    assert main(["search", str(search_file(**content))]) == 2
    assert message in capsys.readouterr().err


def test_options_and_settings_may_mix(search_file, capsys):
    assert main(["search", str(search_file()), "train.steps=4", "--trials", "0", "seed=3"]) == 2
    assert "--trials 0 must be 1 or more" in capsys.readouterr().err

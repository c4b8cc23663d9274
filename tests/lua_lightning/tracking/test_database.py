"""The local database comes whole or not at all."""

import logging
import sqlite3
import time

import pytest
from mlflow import MlflowClient

from lua_lightning.tracking import delivery
from lua_lightning.tracking.database import is_half_made
from tests.lua_lightning.tracking.helpers import full_disk, history, tracker_in


class Killed(BaseException):
    """What stands for a kill."""


@pytest.fixture
def fresh(root):
    (root / "mlflow.db").unlink()
    return root


def test_a_kill_while_it_is_made_leaves_nothing_in_the_way(fresh, monkeypatch):
    """MLflow makes its tables in hundreds of steps; the kill comes in the middle of them."""
    from mlflow.store.db import utils

    with monkeypatch.context() as broken:

        def killed(*args):
            raise Killed

        broken.setattr(utils, "_upgrade_db", killed)
        broken.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore.__init__", killed)
        with pytest.raises(Killed):
            delivery.connect(f"sqlite:///{fresh}/mlflow.db")
    assert not (fresh / "mlflow.db").exists()
    with tracker_in(fresh) as tracker:
        tracker.log_metrics({"train/loss": 1.0}, 1)
    assert history(MlflowClient(f"sqlite:///{fresh}/mlflow.db"), tracker.version, "train/loss") == [(1, 1.0)]
    assert not list(fresh.glob(".*.partial*"))


def test_a_half_made_one_is_moved_aside(fresh, caplog):
    with sqlite3.connect(fresh / "mlflow.db") as database:
        database.execute("CREATE TABLE experiments (experiment_id INTEGER)")
        database.execute("CREATE TABLE runs (run_uuid VARCHAR)")
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR)")
        database.execute("INSERT INTO alembic_version VALUES ('0123')")
        database.execute("CREATE TABLE _alembic_tmp_model_versions (name VARCHAR)")
    database.close()
    assert is_half_made(fresh / "mlflow.db")
    with tracker_in(fresh) as tracker:
        tracker.log_metrics({"train/loss": 1.0}, 1)
    assert history(MlflowClient(f"sqlite:///{fresh}/mlflow.db"), tracker.version, "train/loss") == [(1, 1.0)]
    assert (fresh / "mlflow.db.half-made-1").is_file()
    assert "half made by a kill and holds no runs" in caplog.text


def test_one_with_runs_is_never_moved(root):
    with tracker_in(root) as tracker:
        tracker.log_metrics({"train/loss": 1.0}, 1)
    with sqlite3.connect(root / "mlflow.db") as database:
        database.execute("CREATE TABLE _alembic_tmp_model_versions (name VARCHAR)")
    database.close()
    assert not is_half_made(root / "mlflow.db")
    assert not is_half_made(root / "missing.db")


def test_a_file_of_somebody_else_is_never_moved(tmp_path):
    with sqlite3.connect(tmp_path / "music.db") as database:
        database.execute("CREATE TABLE albums (name VARCHAR)")
    database.close()
    (tmp_path / "notes.txt").write_text("mine")
    assert not is_half_made(tmp_path / "music.db")
    assert not is_half_made(tmp_path / "notes.txt")


def test_a_full_disk_under_it_is_one_line_and_everything_is_sent_when_there_is_room(root, client, caplog, capfd):
    tracker = tracker_in(root)
    steps = range(3000)  # more than fits into what is free in the file
    with tracker, caplog.at_level(logging.WARNING):
        sender = tracker._open().sender
        sender.client()
        with full_disk((root / "mlflow.db").stat().st_size):
            for step in steps:
                tracker.log_metrics({"train/loss": float(step)}, step)
            last = time.monotonic() + 60
            while not sender.away:
                assert time.monotonic() < last
                sender.start().wake()
                time.sleep(0.01)
    said = [record.getMessage() for record in caplog.records]
    assert [("takes no records" in line, "answers again" in line) for line in said] == [(True, False), (False, True)]
    assert "Traceback" not in capfd.readouterr().err
    assert history(client, tracker.version, "train/loss") == [(step, float(step)) for step in steps]

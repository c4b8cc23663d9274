"""Real MLflow databases for the tests of tracking."""

import shutil

import pytest
from mlflow import MlflowClient

from lua_lightning.tracking import delivery


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """An MLflow database without runs; making one takes seconds, copying it none."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def root(tmp_path, empty_database, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(delivery, "SEND_SECONDS", 0.05)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def client(root):
    return MlflowClient(f"sqlite:///{root}/mlflow.db")

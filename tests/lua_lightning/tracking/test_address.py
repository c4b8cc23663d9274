"""Which tracking address is used, and what is said when it does not answer."""

import os
import socket
import time

import pytest

from lua_lightning.errors import UserError
from lua_lightning.tracking import delivery
from lua_lightning.tracking.address import tracking_uri
from tests.lua_lightning.tracking.helpers import CONFIG, free_port, tracker_in


class TestAddress:
    def test_is_the_file_in_the_checkout(self, tmp_path, monkeypatch):
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
        monkeypatch.chdir(tmp_path)
        assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"

    def test_is_the_environment_variable_when_set(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
        assert tracking_uri(tmp_path) == "http://mlflow.example:5000"
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
        assert tracking_uri() == f"sqlite:///{tmp_path}/other.db"

    def test_where_nothing_listens_is_refused_in_one_sentence(self, root, monkeypatch):
        address = f"http://user:secret@127.0.0.1:{free_port()}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        began = time.monotonic()
        with pytest.raises(UserError) as refusal:
            tracker_in(root).log_run_start(CONFIG)
        assert time.monotonic() - began < 3
        assert address.replace("user:secret@", "") in str(refusal.value)
        assert "refused" in str(refusal.value)
        assert "unset it to record in the local file" in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert not (root / "runs").exists()

    def test_that_never_answers_is_refused_too(self, root, monkeypatch):
        monkeypatch.setattr("lua_lightning.tracking.address.PROBE_SECONDS", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(UserError, match="timed out"):
                tracker_in(root).log_run_start(CONFIG)

    def test_that_is_no_database_is_refused(self, root):
        (root / "mlflow.db").write_text("not a database, but long enough to be looked at" * 100)
        with pytest.raises(UserError, match=r"file is not a database.*move that file away"):
            tracker_in(root).log_run_start(CONFIG)

    def test_keeps_the_users_own_patience_with_servers(self, root, monkeypatch):
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "33")
        monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
        delivery.connect(tracking_uri(root))
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "33"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"

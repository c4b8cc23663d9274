"""The report on a checkout: complete, bare, and with damaged parts."""

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from lua_lightning import doctor as doctor_module
from lua_lightning import environment
from lua_lightning.doctor import doctor, photographs, tracking_address, versions
from lua_lightning.environment import cpu_has_bf16, memory
from lua_lightning.evaluation import registry
from lua_lightning.tracking import address


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with all that the quick stage 1 needs."""
    monkeypatch.setattr(doctor_module, "zoo_names", lambda: ["lua-tiny-d64", "tiny-d64", "tiny-d4"])
    monkeypatch.setattr(doctor_module, "zoo_generators", lambda: ["tiny-sdxl"])
    write_photos(tmp_path, train=26, val=8)
    (tmp_path / "cache/abc").mkdir(parents=True)
    (tmp_path / "cache/abc/manifest.json").write_text("{}")
    (tmp_path / "cache/abc/train-00000.safetensors").write_bytes(b"0" * 3 * 2**20)
    return tmp_path


def write_photos(root, **counts):
    images = [{"file": f"{split}-{i}.png", "split": split} for split, count in counts.items() for i in range(count)]
    (root / "data/photos").mkdir(parents=True, exist_ok=True)
    (root / "data/photos/manifest.json").write_text(json.dumps({"images": images}))


def line(output, name):
    return next(line for line in output.splitlines() if line.strip().startswith(name))


def test_a_complete_checkout(checkout, capsys):
    assert doctor(checkout) == 0
    output = capsys.readouterr().out
    assert torch.__version__ in line(output, "torch")
    assert "8 val" in line(output, "data/photos")
    assert "26 train" in line(output, "data/photos")
    assert "1 shards, 3 MiB" in line(output, "cache/abc")
    assert f"sqlite:///{checkout}/mlflow.db" in line(output, "MLflow")
    assert "everything that `make train-stage1` needs is here" in output
    assert not (checkout / "mlflow.db").exists()


def test_what_metrics_lack_is_told_with_the_command(checkout, capsys, monkeypatch):
    monkeypatch.setattr(registry, "INCEPTION_FOLDER", checkout)
    assert doctor(checkout) == 0
    output = capsys.readouterr().out
    assert "perceptual, KID, FID" in line(output, "EffNet-Lite0")
    assert "unavailable" in line(output, "Inception")
    assert "fetch them with `make inception`" in output
    (checkout / registry.INCEPTION_FILE).touch()
    doctor(checkout)
    assert "unavailable" not in line(capsys.readouterr().out, "Inception")


def test_without_photographs(checkout, capsys):
    shutil.rmtree(checkout / "data")
    assert doctor(checkout) == 1
    output = capsys.readouterr().out
    assert "missing" in line(output, "photo set")
    assert "-> make data" in output
    assert "missing for `make train-stage1`: photo set" in output


def test_without_the_embedded_autoencoder(checkout, capsys, monkeypatch):
    monkeypatch.setattr(doctor_module, "zoo_names", lambda: ["other"])
    assert doctor(checkout) == 1
    output = capsys.readouterr().out
    assert "missing" in line(output, "tiny-d64")
    assert "none" in line(output, "tiny-d4")
    assert "present" in line(output, "other")
    assert "make zoo-codecs" in output


def test_without_a_cache_stage_1_can_train(checkout, capsys):
    shutil.rmtree(checkout / "cache")
    assert doctor(checkout) == 0
    assert "none" in line(capsys.readouterr().out, "cache")


@pytest.mark.parametrize("content", ["", "[]", '{"images": [{"file": "a.png"}]}', '{"images": []}'])
def test_a_damaged_or_empty_photo_set_is_missing(checkout, content):
    (checkout / "data/photos/manifest.json").write_text(content)
    (check,) = photographs(checkout)
    assert (check.ok, check.needed, check.mend) == (False, True, "make data")


def test_one_usable_photo_set_is_enough(checkout):
    (checkout / "data/broken").mkdir()
    (checkout / "data/broken/manifest.json").write_text("")
    broken, photos = photographs(checkout)
    assert (broken.ok, broken.needed) == (False, False)
    assert photos.ok


def test_a_dead_server_is_named_without_its_password(checkout, monkeypatch, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
    assert doctor(checkout) == 1
    output = capsys.readouterr().out
    assert f"http://127.0.0.1:{port} does not answer" in line(output, "MLflow")
    assert "unset MLFLOW_TRACKING_URI" in output
    assert "secret" not in output


@pytest.mark.parametrize("address", ["http://127.0.0.1:port", "http://no such host", "https://"])
def test_an_address_that_is_none_is_named(checkout, monkeypatch, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    check = tracking_address(checkout)
    assert not check.ok
    assert address in check.found


def test_a_silent_server_costs_a_bounded_time(checkout, monkeypatch):
    monkeypatch.setattr(address, "PROBE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        check = tracking_address(checkout)
    assert not check.ok
    assert "timed out" in check.found
    assert time.monotonic() - began < 2


def test_malicious_lightning_is_named(monkeypatch):
    monkeypatch.setattr(
        environment, "installed_version", lambda name: {"lightning": "2.6.3", "mlflow": "3.0"}.get(name)
    )
    checks = {check.name: check for check in versions()}
    assert not checks["lightning"].ok
    assert "malicious" in checks["lightning"].found
    assert not checks["diffusers"].ok
    assert checks["diffusers"].mend == "make setup"
    assert checks["mlflow"].ok


def test_memory_is_what_the_system_says_or_less():
    available, total = memory()
    assert 0 < available <= total <= psutil.virtual_memory().total


@pytest.mark.skipif(shutil.which("lscpu") is None, reason="lscpu is the reference")
def test_bf16_agrees_with_lscpu():
    output = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    assert cpu_has_bf16() == any(flag in output.split() for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def test_the_report_is_quick_to_load():
    """Lightning and MLflow take ten seconds and more to import on a slow machine."""
    code = "import sys, lua_lightning.doctor; print({'lightning', 'mlflow', 'diffusers'} & sys.modules.keys())"
    root = Path(doctor_module.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"

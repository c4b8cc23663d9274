"""Two nodes of two processes, by torchrun with a rendezvous on this machine, against one process."""

import contextlib
import dataclasses
import json
import socket
import subprocess
import sys
import time

import psutil
import pytest

from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from tests.lua_lightning.training.helpers import history, largest_difference, weights

STEPS, KILL_AT = 16, 9
LIMIT = 1200  # seconds; five processes share what may be one core


@pytest.fixture
def settings(tmp_path, photo_folder, codec_folder, cache_config, cache, codec, monkeypatch):
    """A run that starts from an adapter of two heads and trains one: the other must not hold up the processes."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    start = LatentUpscaler(AdapterConfig.sized("tiny", channels=codec.channels, depths=(2,), skip="linear"))
    start.save_pretrained(tmp_path / "start")
    cache_settings = dataclasses.asdict(dataclasses.replace(cache_config, codec=str(codec_folder)))
    return [
        "experiments/stage1.yaml",
        f"data.photos={photo_folder}",
        *(f"cache.{name}={value}" for name, value in cache_settings.items() if value is not None),
        f"adapter.init_from={tmp_path / 'start'}",
        "adapter.scales=[2]",
        f"train.steps={STEPS}",
        f"validation.every={STEPS}",
        "train.crop_latents=8",
        "train.log_every=1",
        "train.checkpoint_every=4",
        "train.precision=32-true",
        "train.accelerator=cpu",
        "optim.warmup_steps=2",
        "tracking.system_metrics=false",
    ]


def start_nodes(arguments):
    """Return the agents of two nodes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2", "--max-restarts=0"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", f"--rdzv-id={port}", "--local-addr=127.0.0.1"),
        *("-m", "lua_lightning.cli", "train", *arguments, "train.devices=2", "train.num_nodes=2", "train.batch_size=1"),
    ]
    return [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]


def kill(node):
    """Kill the agent of a node and its processes, which have sessions of their own, outright."""
    with contextlib.suppress(psutil.NoSuchProcess):
        agent = psutil.Process(node.pid)
        for process in [agent, *agent.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def finish(nodes):
    """Return what the nodes printed, having waited for their ends; none is left behind."""
    try:
        return [node.communicate(timeout=LIMIT)[0] for node in nodes]
    finally:
        for node in nodes:
            kill(node)


def closing(printed):
    """Return the closing numbers, which rank 0 prints on whichever node it is."""
    lines = [line for text in printed for line in text.splitlines() if line.startswith("{")]
    return json.loads(lines[-1])


@pytest.mark.slow
def test_two_nodes_train_as_one_process_and_go_on_after_a_kill(settings, tmp_path, record_property):
    one = subprocess.run(
        [sys.executable, "-m", "lua_lightning.cli", "train", *settings, "train.devices=1", "train.batch_size=4",
         f"runs={tmp_path / 'one'}"],
        capture_output=True, text=True, timeout=LIMIT, check=True,
    )  # fmt: skip
    single = closing([one.stdout])
    folder = tmp_path / "nodes" / "stage1" / "run"
    together = [*settings, f"runs={tmp_path / 'nodes'}"]
    nodes = start_nodes([*together, "--folder", str(folder)])
    records, limit = folder / "metrics.jsonl", time.monotonic() + LIMIT
    while not (records.is_file() and f'"step": {KILL_AT}, ' in records.read_text()):
        assert time.monotonic() < limit
        assert all(node.poll() is None for node in nodes), finish(nodes)
        time.sleep(0.05)
    kill(nodes[1])
    finish(nodes)
    assert all(node.returncode for node in nodes)
    assert not (folder / "results.json").exists()
    nodes = start_nodes([*together, "--resume", str(folder)])
    printed = finish(nodes)
    assert [node.returncode for node in nodes] == [0, 0], printed
    double = closing(printed)
    assert "resuming" in "".join(printed)
    difference = largest_difference(weights(single), weights(double))
    record_property("weights", difference)
    assert difference < 2e-5
    losses = [history(results["run_id"], "train/loss") for results in (single, double)]
    assert sorted(losses[0]) == sorted(losses[1]) == list(range(STEPS))
    for name, value in single.items():
        if name.startswith("val/"):
            assert double[name] == pytest.approx(value, abs=2e-4), name

"""Kill every command at random moments, go on, and compare with unbroken runs, bit for bit.

Command: make chaos   (50 kills; about 15 minutes on two cores)

Each start is a fork of a process that has imported everything, so that the kills fall on work rather than on imports.
"""

import argparse
import contextlib
import importlib
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import psutil

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from tests.chaos.workloads import Workload, prepare

IMPORTED = (
    "mlflow.store.tracking.sqlalchemy_store",
    "benchmarks.run",
    "lua_lightning.sweeps.main",
    "lua_lightning.sweeps.plots",
    "lua_lightning.training.chain",
    "lua_lightning.upscaling",
)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOST_KILLS = 4  # of one attempt, until it may end
PATIENCE = 1800.0  # seconds until a command counts as one that hangs, at least
BUSIER = 20  # how much busier than during the unbroken run the machine may become
POLL = 0.05  # seconds


class Loss(Exception):
    """Something was lost, or ended in another way than it should."""


def main() -> int:
    """Kill, go on, compare; return 0 when nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="names of commands, with commas between them")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="chaos-"))
    _import_all()
    workloads = prepare(home)
    if options.only:
        workloads = {name: workloads[name] for name in options.only.split(",")}
    chaos = Chaos(home, workloads, random.Random(options.seed))
    began = time.monotonic()
    try:
        chaos.run(options.kills)
    except Loss as loss:
        print(f"{chaos.summary(options.kills)}; LOST: {loss}; everything is in {home}")
        return 1
    print(f"{chaos.summary(options.kills)} in {time.monotonic() - began:.0f} s: nothing was lost")
    shutil.rmtree(home, ignore_errors=True)
    return 0


class Chaos:
    """Attempts at the workloads, each killed some times and compared in the end."""

    def __init__(self, home: Path, workloads: dict[str, Workload], lot: random.Random) -> None:
        self.home, self.workloads, self.lot = home, workloads, lot
        self.wanted: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}
        self.computed: dict[str, float] = {}
        """Seconds of computing of the unbroken run: moments in them mean the same on a busy machine and a quiet one."""
        self.kills: dict[str, int] = dict.fromkeys(workloads, 0)
        self.attempts = 0

    def summary(self, wanted: int) -> str:
        """Return how often what was killed."""
        each = ", ".join(f"{name} {number}" for name, number in self.kills.items())
        return f"{sum(self.kills.values())} of {wanted} kills ({each})"

    def run(self, kills: int) -> None:
        """Kill that often."""
        while sum(self.kills.values()) < kills:
            fewest = min(count / self.workloads[name].weight for name, count in self.kills.items())
            names = [name for name, count in self.kills.items() if count / self.workloads[name].weight <= fewest]
            name = self.lot.choice(names)
            if name not in self.wanted:
                self._unbroken(name)
            self._attempt(name, min(self.lot.randint(1, MOST_KILLS), kills - sum(self.kills.values())))

    def _unbroken(self, name: str) -> None:
        folder = self._folder(name)
        started = time.monotonic()
        process, group = start(name, self.workloads[name], folder)
        self.computed[name] = computing(process, math.inf)
        status = ended(process, group)
        self.seconds[name] = time.monotonic() - started
        if status:
            raise Loss(f"{name} in {folder} ends with {status} though nobody kills it")
        self.wanted[name] = self.workloads[name].outcome(folder)
        print(f"{name}: {self.seconds[name]:.1f} s, {len(self.wanted[name])} things to compare", flush=True)

    def _attempt(self, name: str, kills: int) -> None:
        folder, said = self._folder(name), []
        patience = max(PATIENCE, BUSIER * self.seconds[name])
        for _ in range(kills):
            process, group = start(name, self.workloads[name], folder)
            moment = self.lot.uniform(0, self.computed[name])
            number = self.lot.choice(SIGNALS)
            everybody = number == signal.SIGINT or (number == signal.SIGKILL and self.lot.random() < 0.5)
            computing(process, moment)
            if ended(process, group, 0) is not None:
                continue  # faster than before
            (os.killpg if everybody else os.kill)(process, number)
            self.kills[name] += 1
            status = ended(process, group, patience)
            said.append(f"{number.name} at {moment:.1f} s -> {status}")
            self._check_end(name, folder, number, status)
        status = ended(*start(name, self.workloads[name], folder), patience)
        if status:
            raise Loss(f"{name} in {folder} ends with {status} after {', '.join(said)}")
        found = self.workloads[name].outcome(folder)
        for key in sorted({*found, *self.wanted[name]}):
            if found.get(key) != self.wanted[name].get(key):
                raise Loss(f"{name} in {folder} has another {key} after {', '.join(said)}")
        print(f"{name}: {', '.join(said) or 'not killed'}: as unbroken", flush=True)
        shutil.rmtree(folder)

    def _check_end(self, name: str, folder: Path, number: int, status: int | None) -> None:
        """Refuse an end that is none of: killed, the signal's own status, or done before the signal was noticed."""
        if status not in (-number, 128 + number, 0):
            raise Loss(f"{name} in {folder} ends with {status} after signal {number}")
        text = (folder / "said.txt").read_text(errors="replace")
        if number != signal.SIGKILL and "Traceback (most recent call last)" in text:
            raise Loss(f"{name} in {folder} prints a traceback after signal {number}")

    def _folder(self, name: str) -> Path:
        self.attempts += 1
        folder = self.home / f"{self.attempts:03d}-{name}"
        folder.mkdir()
        return folder


def start(name: str, workload: Workload, folder: Path) -> tuple[int, int]:
    """Start a command in a process and a group of its own; return both numbers, which are the same."""
    process = os.fork()
    if process:
        return process, process
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        output = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        status = _command(name, [*workload.arguments])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _command(name: str, arguments: list[str]) -> int:
    from benchmarks.__main__ import main as benchmark
    from lua_lightning.cli import main as lua_lightning

    sys.argv = ["lua-lightning", *arguments]
    return benchmark(arguments[1:]) if name == "benchmark" else lua_lightning(arguments)


def ended(process: int, group: int, seconds: float = PATIENCE) -> int | None:
    """Wait for a process and return its status, negative for a signal; None where it still runs after 0 seconds.

    Raises:
        Loss: It does not end.
    """
    last = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= last:
            break
        time.sleep(0.02)
    if not seconds:
        return None
    os.killpg(group, signal.SIGKILL)
    os.waitpid(process, 0)
    raise Loss(f"process {process} does not end within {seconds:.0f} s")


def computing(process: int, moment: float) -> float:
    """Wait until a process and those that it started have computed for `moment` seconds, or it ends; return how long.

    It is not awaited after its end, which `ended` does.
    """
    computed, parent, last = 0.0, psutil.Process(process), time.monotonic() + PATIENCE
    with contextlib.suppress(psutil.NoSuchProcess):
        while computed < moment and parent.status() != psutil.STATUS_ZOMBIE and time.monotonic() < last:
            now = 0.0
            for one in (parent, *parent.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    now += sum(one.cpu_times()[:4])  # user, system, and both of children that ended
            computed = max(computed, now)
            time.sleep(POLL)
    return computed


def _import_all() -> None:
    """Import what the commands import, so that the forks have it."""
    for name in IMPORTED:
        importlib.import_module(name)


if __name__ == "__main__":
    sys.exit(main())

"""Train the runs of a sweep in processes of their own, through submitit: on this machine or on a SLURM cluster."""

import contextlib
import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
import torch
from submitit.helpers import DelayedSubmission

from lua_lightning.documents import read_json
from lua_lightning.errors import UserError
from lua_lightning.files import write_json, write_text
from lua_lightning.locks import Busy, end_holder
from lua_lightning.signals import Stopped, terminable
from lua_lightning.sweeps.plan import ERROR, Plan, PlannedRun
from lua_lightning.training.chain import run_chain

POLL_SECONDS = 1.0
STOP_SECONDS = 60.0  # for a training to end its step and to save
JOBS = "jobs"  # folder of submitit's scripts and logs
JOB_IDS = "slurm.json"
DAYS = 7  # after which a run on this machine is stopped; SLURM has its own limit
SLURM_DEFAULTS: dict[str, Any] = {"time": 24 * 60, "gpus_per_node": 1, "cpus_per_task": 8}  # minutes


@dataclass
class Training:
    """One run, as a process of its own carries it out. Called again, it goes on where it stopped.

    Attributes:
        run: What is trained.
        tags: Of its MLflow run.
        params: Likewise.
    """

    run: PlannedRun
    tags: dict[str, str]
    params: dict[str, Any]

    def __call__(self) -> None:
        folder = self.run.folder
        (folder / ERROR).unlink(missing_ok=True)
        name = f"{self.run.variant} seed {self.run.seed}"
        try:
            # SLURM announces its SIGTERM by another signal, which submitit waits for.
            with contextlib.nullcontext() if "SLURM_JOB_ID" in os.environ else terminable():
                run_chain(self.run.chain, self.run.settings, False, folder, name, self.tags, self.params)
        except Busy:  # another driver's process trains it
            raise
        except Exception as error:
            write_text(folder / ERROR, f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}")
            raise

    def checkpoint(self) -> DelayedSubmission:
        """Return what submitit requeues when SLURM preempts the job or its time is up."""
        return DelayedSubmission(self)


@dataclass
class Options:
    """Where and how runs are carried out.

    Attributes:
        jobs: Runs at a time.
        cluster: `local` or `slurm`.
        slurm: `key=value` of the SLURM job.
    """

    jobs: int
    cluster: str = "local"
    slurm: Sequence[str] = ()


def default_jobs() -> int:
    """Return how many runs go at a time: one on each GPU, else two, which share the processor's cores."""
    return torch.cuda.device_count() or min(2, os.cpu_count() or 1)


def threads(jobs: int) -> int:
    """Return the processor threads of each of `jobs` runs at a time."""
    return max(1, (os.cpu_count() or 1) // jobs)


def execute(
    plan: Plan,
    trainings: Sequence[Training],
    options: Options,
    ended: Callable[[PlannedRun], None],
) -> None:
    """Carry out what is missing, and wait for runs that a driver before this one began and that still go on.

    Args:
        plan: The sweep.
        trainings: What is to be trained.
        options: Where.
        ended: Called with each run that has ended, whatever became of it.
    """
    carry_out = _locally if options.cluster == "local" else _on_slurm
    carry_out(plan, list(trainings), options, ended)


def _locally(plan: Plan, waiting: list[Training], options: Options, ended: Callable[[PlannedRun], None]) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", str(threads(options.jobs)))
    devices = _devices()
    survivors = plan.survivors([training.run for training in waiting])
    active: dict[int, tuple[PlannedRun, submitit.Job[None]]] = {}
    with _stopping(active):
        while waiting or active or survivors:
            for slot, (run, job) in list(active.items()):
                if not job.done():
                    continue
                del active[slot]
                if run.is_running():  # by a process of a driver before this one, which was just starting
                    survivors.append(run)
                else:
                    ended(run)
            for run in list(survivors):
                if not run.is_running():
                    survivors.remove(run)
                    ended(run)
            free = [slot for slot in range(options.jobs) if slot not in active]
            for slot in free[: max(0, options.jobs - len(active) - len(survivors))]:
                if waiting:
                    training = waiting.pop(0)
                    active[slot] = (training.run, _submitted(_executor(plan, devices, slot), training))
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _stopping(active: Mapping[int, tuple[PlannedRun, submitit.Job[None]]]) -> Iterator[None]:
    """Let the trainings of this process end their step and save where a signal ends it, and wait for them."""
    try:
        yield
    except (KeyboardInterrupt, Stopped):
        for run, _ in active.values():
            end_holder(run.folder)
        last = time.monotonic() + STOP_SECONDS
        while any(run.is_running() for run, _ in active.values()) and time.monotonic() < last:
            time.sleep(POLL_SECONDS)
        raise


def _executor(plan: Plan, devices: Sequence[int], slot: int) -> submitit.LocalExecutor:
    executor = submitit.LocalExecutor(_jobs_folder(plan))
    executor.update_parameters(timeout_min=DAYS * 24 * 60)
    if devices:
        executor.update_parameters(gpus_per_node=1, visible_gpus=[devices[slot % len(devices)]])
    return executor


def _submitted(executor: submitit.LocalExecutor, training: Training) -> submitit.Job[None]:
    # Ctrl-C reaches all processes of the terminal. The training ends its step and saves (see CleanStop); the process
    # that submitit puts above it would kill it a second later, but inherits from here that it does not listen.
    listening = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return executor.submit(training)
    finally:
        signal.signal(signal.SIGINT, listening)


def _devices() -> list[int]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen:
        if not all(number.isdigit() for number in chosen.split(",")):
            raise UserError(f"CUDA_VISIBLE_DEVICES={chosen} must name GPUs by number here, such as 0,1")
        return [int(number) for number in chosen.split(",")]
    return list(range(torch.cuda.device_count()))


def _jobs_folder(plan: Plan) -> Path:
    return plan.folder.parent / JOBS


def _on_slurm(plan: Plan, waiting: list[Training], options: Options, ended: Callable[[PlannedRun], None]) -> None:
    record = _jobs_folder(plan) / JOB_IDS
    ids: dict[str, str] = read_json(record) if record.is_file() else {}  # by the run's folder
    active = {}
    for run in plan.runs:
        if run.folder.name in ids and run.state != "finished":
            job = submitit.SlurmJob(_jobs_folder(plan), ids[run.folder.name])
            job.watcher.update()
            if not _is_over(job):
                active[run.folder] = run, job
    waiting = [training for training in waiting if training.run.folder not in active]
    if waiting:
        settings = slurm_settings(options.slurm)
        try:
            executor = submitit.SlurmExecutor(_jobs_folder(plan))
            executor.update_parameters(array_parallelism=options.jobs, job_name=plan.config.name, **settings)
            submitted = executor.submit_array(waiting)
        except Exception as error:  # no SLURM here, an unknown parameter, or sbatch refuses the job
            raise UserError(f"SLURM does not take the sweep ({error}): see --slurm, or use --cluster local") from error
        for training, job in zip(waiting, submitted, strict=True):
            active[training.run.folder] = training.run, job
            ids[training.run.folder.name] = job.job_id
        write_json(record, ids)
    while active:
        for folder, (run, job) in list(active.items()):
            if _is_over(job):
                del active[folder]
                ended(run)
        time.sleep(POLL_SECONDS)


def _is_over(job: submitit.SlurmJob[None]) -> bool:
    """Whether a job has ended; also one that was preempted for good, or that the accounting no longer knows."""
    if job.done():
        return True
    if job.state not in ("UNKNOWN", "PREEMPTED"):
        return False
    queue = subprocess.run(["squeue", "--noheader", "--jobs", job.job_id], capture_output=True, text=True, check=False)
    return not queue.stdout.strip() and (queue.returncode == 0 or "Invalid job id" in queue.stderr)


def slurm_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of the SLURM job: the defaults, and what `KEY=VALUE` texts say.

    Raises:
        UserError: A text is no setting.
    """
    return {**SLURM_DEFAULTS, **dict(_setting(text) for text in texts)}


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--slurm {text!r} is not a setting: write KEY=VALUE, for example --slurm partition=gpu")
    if key == "time" and not value.isdigit():
        raise UserError(f"--slurm {text} must be a number of minutes: time=1440 for a day")
    return key, int(value) if value.isdigit() else value

"""Facts about this machine, checkout and tracking address; `make doctor` prints them with the commands that mend them.

Nothing heavier than PyTorch is imported here, so that the report comes at once.
"""

import contextlib
import http.client
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lua_lightning.catalogue import zoo_generators
from lua_lightning.pretrained import zoo_names

SQLITE = "sqlite:///"
PROBE_SECONDS = 5.0
VERSIONED_PACKAGES = ("torch", "lightning", "mlflow", "diffusers", "lua-lightning")
GIB = 2**30
MIN_DISK = 2 * GIB  # photographs, cache, checkpoints and runs of the quick stage 1
MIN_MEMORY = 3 * GIB
MALICIOUS_LIGHTNING = ("2.6.2", "2.6.3")
# Embedded models: whether the quick stage 1 needs them, and the target that rebuilds them.
EMBEDDED = {
    "tiny-d16": (True, "make zoo-codecs"),
    "tiny-d4": (False, "make zoo-codecs"),
    "lua-tiny-d16": (False, "make zoo-adapters"),
    "lua-tiny-d4": (False, "make zoo-adapters"),
    "lsr-tiny-d16": (False, "make zoo-rivals"),
    "swinir-tiny": (False, "make zoo-rivals"),
    "tiny-sdxl": (False, "make zoo-generator"),
}


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: What was looked for.
        found: What is there.
        ok: Whether that will do.
        mend: The command that mends it; shown where it will not do.
        needed: Whether `make train-stage1` cannot do without.
    """

    name: str
    found: str
    ok: bool = True
    mend: str = ""
    needed: bool = True


def doctor(root: Path | None = None) -> int:
    """Print the report on the checkout in `root` (the current folder); return 0 when stage 1 can train, else 1."""
    root = root or Path.cwd()
    groups = {
        "versions": versions(),
        "machine": machine(root),
        "embedded models": embedded_models(),
        "photographs": photographs(root),
        "latent caches": caches(root),
        "tracking": [tracking_address(root), commit(root)],
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, checks in groups.items():
        table.add_row(f"[bold]{title}[/bold]")
        for check in checks:
            mend = "" if check.ok else f"\n[dim]-> {escape(check.mend)}[/dim]"
            table.add_row(f"  {escape(check.name)}", _mark(check), escape(check.found) + mend)
    console = Console(highlight=False)
    console.print(table)
    missing = [check for checks in groups.values() for check in checks if check.needed and not check.ok]
    if missing:
        console.print(f"\n[red]missing for `make train-stage1`:[/red] {escape(', '.join(c.name for c in missing))}")
        return 1
    console.print("\n[green]everything that `make train-stage1` needs is here[/green]")
    return 0


def _mark(check: Check) -> str:
    if check.ok:
        return "[green]ok[/green]"
    return "[red]missing[/red]" if check.needed else "[yellow]none[/yellow]"


def versions() -> list[Check]:
    """Return the versions of Python and of the packages that results depend on."""
    info = run_info()
    checks = [Check("python", f"{info['python']} on {info['platform']}")]
    for name, version in info["versions"].items():
        malicious = name == "lightning" and version in MALICIOUS_LIGHTNING
        found = f"{version} was published with malicious code" if malicious else version or "not installed"
        checks.append(Check(name, found, version is not None and not malicious, "make setup"))
    return checks


def machine(root: Path) -> list[Check]:
    """Return the processor, memory, GPUs and free disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    bf16 = "bfloat16 in hardware" if cpu_has_bf16() else "no bfloat16 in hardware"
    available, total = memory()
    of_memory = f"{_gib(available)} of {_gib(total)} available"
    free = shutil.disk_usage(root).free
    return [
        Check("processor", f"{cpu_name()}, {cores} cores, {torch.get_num_threads()} threads, {bf16}"),
        Check("memory", of_memory, available >= MIN_MEMORY, f"have {_gib(MIN_MEMORY)} for stage 1", needed=False),
        *gpus(),
        Check("disk", f"{_gib(free)} free", free >= MIN_DISK, f"free {_gib(MIN_DISK)} for {root}"),
    ]


def gpus() -> list[Check]:
    """Return the accelerators that PyTorch sees; without one, everything runs on the processor."""
    if torch.cuda.is_available():
        return [_gpu(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        return [Check("gpu", "Apple GPU (mps), memory shared")]
    return [Check("gpu", "no GPU: everything runs on the processor")]


def _gpu(index: int) -> Check:
    free, total = torch.cuda.mem_get_info(index)
    major, _ = torch.cuda.get_device_capability(index)
    bf16 = "bfloat16" if major >= 8 else "no bfloat16 in hardware"
    return Check(f"gpu {index}", f"{torch.cuda.get_device_name(index)}, {_gib(free)} of {_gib(total)} free, {bf16}")


def cpu_has_bf16() -> bool:
    """Return whether the processor multiplies bfloat16 matrices itself (AVX-512 BF16, AMX, or Arm's BF16)."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return not words.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def memory() -> tuple[int, int]:
    """Return the bytes available and in all, within the container's limit where there is one."""
    system = psutil.virtual_memory()
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no control group, or its limit is "max"
        return system.available, system.total
    return min(system.available, max(0, limit - used)), min(system.total, limit)


def embedded_models() -> list[Check]:
    """Return which of the models that ship inside the package are there."""
    present = sorted({*zoo_names(), *zoo_generators()})
    checks = []
    for name, (needed, rebuild) in EMBEDDED.items():
        found = "present" if name in present else "not in lua_lightning/zoo"
        mend = f"git checkout lua_lightning/zoo/{name}, or train it anew: {rebuild}"
        checks.append(Check(name, found, name in present, mend, needed))
    return checks + [Check(name, "present", needed=False) for name in present if name not in EMBEDDED]


def photographs(root: Path) -> list[Check]:
    """Return the photo sets in `data/`, with the number of photographs per split."""
    checks = [_photo_set(path) for path in sorted((root / "data").glob("*/manifest.json"))]
    if any(check.ok for check in checks):
        return [Check(c.name, c.found, c.ok, c.mend, needed=False) for c in checks]
    return checks or [Check("photo set", "no data/*/manifest.json", False, "make data")]


def _photo_set(manifest: Path) -> Check:
    name = f"data/{manifest.parent.name}"
    try:
        counts = Counter(image["split"] for image in json.loads(manifest.read_text(encoding="utf-8"))["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Check(name, f"damaged manifest ({type(error).__name__}: {error})", False, "make data")
    found = ", ".join(f"{count} {split}" for split, count in sorted(counts.items())) or "no photographs"
    return Check(name, found, counts["train"] > 0 and counts["val"] > 0, "make data")


def caches(root: Path) -> list[Check]:
    """Return the caches of latent pairs, with their size on disk."""
    checks = []
    for manifest in sorted((root / "cache").glob("*/manifest.json")):
        shards = list(manifest.parent.glob("**/*.safetensors"))
        size = sum(shard.stat().st_size for shard in shards)
        checks.append(Check(f"cache/{manifest.parent.name}", f"{len(shards)} shards, {size / 2**20:.0f} MiB"))
    return checks or [Check("cache", "no cache/*/manifest.json", False, "made by make train-stage1", needed=False)]


def tracking_address(root: Path) -> Check:
    """Return whether the tracking address answers; that takes at most 5 seconds."""
    uri = tracking_uri(root)
    shown = without_password(uri)
    reason = unreachable(uri)
    if reason is None:
        return Check("MLflow", f"{shown} answers" if uri.startswith("http") else shown)
    mend = "start the server, or: unset MLFLOW_TRACKING_URI" if uri.startswith("http") else "make its folder writable"
    return Check("MLflow", f"{shown} does not answer ({reason})", False, mend)


def commit(root: Path) -> Check:
    """Return the git commit of the checkout; results name it, training does without."""
    sha, dirty = git_commit(root)
    if sha is None:
        return Check("git commit", f"git names none for {root}", False, "train from a git checkout", needed=False)
    return Check("git commit", f"{sha[:12]}, with uncommitted changes" if dirty else sha[:12])


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def tracking_uri(root: Path | None = None) -> str:
    """Return `MLFLOW_TRACKING_URI` when it is set, else the SQLite file `mlflow.db` in `root` (the current folder)."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{(root or Path.cwd()) / 'mlflow.db'}"
    if uri.startswith(SQLITE):  # absolute, for it is stored and used from elsewhere
        return f"{SQLITE}{database_path(uri).as_posix()}"
    return uri


def database_path(uri: str) -> Path:
    """Return the absolute path of the file behind a SQLite address."""
    return Path(uri.removeprefix(SQLITE)).resolve()


def without_password(uri: str) -> str:
    """Return `uri` as it may be shown and stored."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def unreachable(uri: str) -> str | None:
    """Return why the tracking address does not answer within `PROBE_SECONDS`, or None when it does.

    A database file that is not there yet answers when it could be created. Addresses other than web servers and SQLite
    files are not tried.
    """
    try:
        if uri.startswith(SQLITE):
            _probe_database(database_path(uri))
        elif uri.startswith(("http://", "https://")):
            with contextlib.suppress(urllib.error.HTTPError):  # any answer is an answer, a refusal too
                urllib.request.urlopen(without_password(uri).rstrip("/") + "/health", timeout=PROBE_SECONDS).close()
    except (OSError, sqlite3.Error, http.client.HTTPException, ValueError) as error:
        return first_line(getattr(error, "reason", error))
    return None


def _probe_database(path: Path) -> None:
    if path.exists():
        with contextlib.closing(sqlite3.connect(path, timeout=PROBE_SECONDS)) as database:
            database.execute("PRAGMA schema_version").fetchone()
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OSError(f"{path} cannot be written")


def first_line(error: object) -> str:
    """Return an error's first line, short enough for a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def run_info(root: Path | None = None) -> dict[str, Any]:
    """Return what a result depends on beside its config: commit, device, threads, Python, platform and versions.

    `commit` is None outside a git checkout; `dirty` says whether tracked files differ from it.
    """
    commit, dirty = git_commit(root or Path.cwd())
    return {
        "commit": commit,
        "dirty": dirty,
        "device": device_name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {name: installed_version(name) for name in VERSIONED_PACKAGES} | {"torch": str(torch.__version__)},
    }


def git_commit(root: Path) -> tuple[str | None, bool]:
    """Return the commit checked out in `root`, or None, and whether tracked files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):  # no git, no checkout, no commit yet, or someone else's folder
        return None, False


def device_name() -> str:
    """Return the GPUs that PyTorch sees, or the processor's model."""
    if torch.cuda.is_available():
        names = Counter(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in names.items())
    if torch.backends.mps.is_available():
        return f"{cpu_name()} (mps)"
    return cpu_name()


def cpu_name() -> str:
    """Return the processor's model."""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed_packages() -> list[str]:
    """Return `name==version` of every installed package, sorted."""
    return sorted({f"{found.name}=={found.version}" for found in importlib.metadata.distributions()}, key=str.lower)

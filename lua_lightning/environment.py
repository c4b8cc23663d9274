"""Facts about this machine and checkout: device, precision, memory, versions and commit."""

import contextlib
import importlib.metadata
import platform
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import torch

from lua_lightning.errors import UserError

VERSIONED_PACKAGES = ("torch", "lightning", "mlflow", "diffusers", "lua-lightning")


def native_bf16() -> bool:
    """Return whether the device multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_has_bf16()


def use_tensor_cores(device: str) -> None:
    """Let float32 matrix products on a GPU use TF32, as its convolutions do by default; other devices stay exact."""
    if torch.device(device).type == "cuda":
        torch.set_float32_matmul_precision("high")


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


def checked_device(name: str | None, option: str = "--device") -> str:
    """Return the name of a device that is here; None takes the best.

    Raises:
        UserError: It is no device that the models run on, or this machine or this PyTorch has none.
    """
    if name is None:
        return best_device()
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdecimal()):
        raise UserError(f"{option} {name} is no device that models run on: give cpu, cuda, cuda:1 or mps")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(index or 0) >= count:
        has = f"has {count} of the kind {kind}" if count else f"has no {kind} device"
        raise UserError(f"{option} {name} is not here: this machine, or this build of PyTorch, {has}")
    return name


def best_device() -> str:
    """Return `cuda`, `mps` or `cpu`, the first that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"

"""Facts about this machine, checkout and tracking address; `make doctor` prints them with the commands that mend them.

Nothing heavier than PyTorch is imported here, so that the report comes at once.
"""

import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lua_lightning.checkout import in_checkout, of_checkout
from lua_lightning.environment import cpu_has_bf16, cpu_name, git_commit, memory, run_info
from lua_lightning.evaluation.registry import METRICS, NETWORKS, label_of, why_unavailable
from lua_lightning.generators.catalogue import zoo_generators
from lua_lightning.tracking.address import tracking_uri, unreachable, without_password
from lua_lightning.zoo import zoo_names

GIB = 2**30


MIN_DISK = 2 * GIB  # photographs, cache, checkpoints and runs of the quick stage 1


MIN_MEMORY = 3 * GIB


INSTALL = "make setup" if in_checkout() else "pip install --upgrade lua-lightning"


# What must be here: an installed package can do without photographs, a checkout is there to train.
PURPOSE = "`make train-stage1`" if in_checkout() else "`lua-lightning upscale`"


MALICIOUS_LIGHTNING = ("2.6.2", "2.6.3")


# Embedded models: whether the quick stage 1 needs them, and the target that rebuilds them.
EMBEDDED = {
    "tiny-d64": (True, "make zoo-codecs"),
    "tiny-d16": (False, "make zoo-codecs"),
    "tiny-d4": (False, "make zoo-codecs"),
    "lua-tiny-d64": (False, "make zoo-adapters"),
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
        "metrics": metrics(),
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
            mend = "" if check.ok else f"\n[dim]-> {escape(_where(check.mend))}[/dim]"
            table.add_row(f"  {escape(check.name)}", _mark(check), escape(check.found) + mend)
    console = Console(highlight=False)
    console.print(table)
    missing = [check for checks in groups.values() for check in checks if check.needed and not check.ok]
    if missing:
        console.print(f"\n[red]missing for {PURPOSE}:[/red] {escape(', '.join(c.name for c in missing))}")
        return 1
    console.print(f"\n[green]everything that {PURPOSE} needs is here[/green]")
    return 0


def _where(mend: str) -> str:
    """Return what mends something; a command of the checkout says outside one where to get it."""
    return of_checkout(mend) if mend.startswith(("make ", "git ")) and not in_checkout() else mend


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
        checks.append(Check(name, found, version is not None and not malicious, INSTALL))
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


def embedded_models() -> list[Check]:
    """Return which of the models that ship inside the package are there."""
    present = sorted({*zoo_names(), *zoo_generators()})
    checks = []
    for name, (needed, rebuild) in EMBEDDED.items():
        found = "present" if name in present else "not in lua_lightning/zoo"
        mend = f"git checkout lua_lightning/zoo/{name}, or train it anew: {rebuild}"
        checks.append(Check(name, found, name in present, mend, needed))
    return checks + [Check(name, "present", needed=False) for name in present if name not in EMBEDDED]


def metrics() -> list[Check]:
    """Return whether the packages and weights of each feature network are there; its metrics do without."""
    checks = []
    for network in NETWORKS.values():
        keys = [key for metric in METRICS.values() for key in metric.keys if key.endswith(f"/{network.name}")]
        reason = why_unavailable(keys[0])
        names = ", ".join(label_of(key, unit=False).partition(" (")[0] for key in keys)
        found = names if reason is None else f"{names}: unavailable"
        checks.append(Check(network.label, found, reason is None, reason or "", needed=False))
    return checks


def photographs(root: Path) -> list[Check]:
    """Return the photo sets in `data/`, with the number of photographs per split."""
    checks = [_photo_set(path) for path in sorted((root / "data").glob("*/manifest.json"))]
    if any(check.ok for check in checks):
        return [Check(c.name, c.found, c.ok, c.mend, needed=False) for c in checks]
    return checks or [Check("photo set", "no data/*/manifest.json", False, "make data", needed=in_checkout())]


def _photo_set(manifest: Path) -> Check:
    name = f"data/{manifest.parent.name}"
    try:
        counts = Counter(image["split"] for image in json.loads(manifest.read_text(encoding="utf-8"))["images"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return Check(
            name, f"damaged manifest ({type(error).__name__}: {error})", False, "make data", needed=in_checkout()
        )
    found = ", ".join(f"{count} {split}" for split, count in sorted(counts.items())) or "no photographs"
    return Check(name, found, counts["train"] > 0 and counts["val"] > 0, "make data", needed=in_checkout())


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

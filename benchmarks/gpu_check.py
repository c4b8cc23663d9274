"""Check and measure the framework on one GPU, without network: `python -m benchmarks.gpu_check` (make gpu-check).

Random weights do: neither correctness in half precision nor time and memory depend on training. Without a GPU the same
rows are measured on the CPU, at smaller sizes, and the report says so.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from baselines.contract import World
from baselines.registry import METHODS, build_method
from lua_lightning.config import RunConfig
from lua_lightning.environment import best_device, run_info
from lua_lightning.errors import UserError, first_line
from lua_lightning.files import write_json
from lua_lightning.generators.generator import quiet_loading
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.training.module import step_terms

REPEATS = 5
STEPS = 2  # denoising steps of each method
BASE = {"cuda": 256, "cpu": 128}  # px that each method enlarges twice
SIDES = {"cuda": (1024, 2048, 4096), "cpu": (256, 512)}  # of the result, px
ADAPTERS = {"cuda": ("tiny", "light", "paper"), "cpu": ("tiny",)}
DECODERS: dict[str, dict[str, Any]] = {
    "SDXL": {"latent_channels": 4, "scaling_factor": 0.13025},
    "FLUX": {"latent_channels": 16},
}
WIDTHS = {"cuda": (128, 256, 512, 512), "cpu": (32, 32, 64, 64)}
DECODED_WHOLE = 2048  # px; larger results are decoded in tiles of 128 latents
TRAINED = {"cuda": (("paper", 64, 8), ("light", 64, 32), ("base", 32, 64)), "cpu": (("tiny", 32, 4),)}
# bfloat16 matrix products per second without sparsity, from the makers' data sheets.
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        part: What was measured.
        case: Its size, precision and mode.
        px: Side of the result in pixels.
        milliseconds: Median of the repeats, after warming up; None where it failed.
        mib: Largest memory above what was held before, on the device.
        note: Why there is no number, or what else is known.
    """

    part: str
    case: str
    px: int
    milliseconds: float | None = None
    mib: float | None = None
    note: str = ""


def timed(function: Callable[[], object], device: str, repeats: int = REPEATS) -> tuple[float, float | None]:
    """Return the median milliseconds of `function` and its peak memory in MiB (None on a CPU)."""
    function()
    function()
    held = 0
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(1000 * (time.perf_counter() - started))
    peak = (torch.cuda.max_memory_allocated() - held) / 2**20 if device == "cuda" else None
    return statistics.median(taken), peak


def measured(part: str, case: str, px: int, function: Callable[[], object], device: str) -> Row:
    """Return the row of one measurement; running out of memory is a result too."""
    try:
        return Row(part, case, px, *timed(function, device))
    except torch.OutOfMemoryError:
        return Row(part, case, px, note="out of memory")
    finally:
        if device == "cuda":
            torch.cuda.empty_cache()


def adapter_rows(device: str, compiled: bool) -> Iterator[Row]:
    """Yield the time of each adapter from half the side to each side, x2, in bfloat16."""
    for size in ADAPTERS[device]:
        adapter = LatentUpscaler(AdapterConfig.sized(size, channels=16)).eval().to(device, torch.bfloat16)
        if compiled:
            adapter.compile()
        for px in SIDES[device]:
            latents = torch.randn(1, 16, px // 16, px // 16, device=device)
            case = f"{size}, x2, {'compiled' if compiled else 'eager'}"
            yield measured("adapter", case, px, partial(adapter, latents, 2), device)


def decoder_rows(device: str) -> Iterator[Row]:
    """Yield the time of decoders of SDXL's and FLUX's shape, in bfloat16."""
    from diffusers import AutoencoderKL

    for name, settings in DECODERS.items():
        shape: dict[str, Any] = {
            "block_out_channels": WIDTHS[device],
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
        }
        model: Any = AutoencoderKL(**shape, **settings)
        with quiet_loading():
            codec = LatentCodec.of(model.to(torch.bfloat16), name).to(device)
        for px in SIDES[device]:
            latents = torch.randn(1, codec.channels, px // 8, px // 8, device=device)
            tile = None if px <= DECODED_WHOLE else 128
            case = f"{name}, {'whole' if tile is None else 'tiles of 128'}"
            yield measured("decoder", case, px, partial(codec.decode, latents, tile=tile), device)


def method_rows(device: str) -> Iterator[Row]:
    """Yield one run of every method, from small images of the embedded generator to twice that, with few steps."""
    world, base = World(device=device, steps=STEPS), BASE[device]
    start = world.start("a mountain lake", 0, base)
    for name in METHODS:
        row = Row("method", f"{name}, tiny-sdxl, {STEPS} steps", 2 * base)
        try:
            outcome = build_method(name, world).run(start, 2 * base)
        except UserError as error:  # a package or weights are not here
            yield replace(row, note=first_line(error))
            continue
        except torch.OutOfMemoryError:
            yield replace(row, note="out of memory")
            continue
        sound = bool(outcome.image.isfinite().all())
        yield replace(
            row,
            milliseconds=1000 * sum(outcome.seconds.values()),
            mib=max(outcome.peak_mib.values()) if device == "cuda" else None,
            note="" if sound else "failed: pixels that are not finite",
        )


def training_rows(device: str) -> Iterator[Row]:
    """Yield a stage I step of each size, both heads, in bfloat16 autocast, with images/s and use of the card's peak."""
    for size, side, batch in TRAINED[device]:
        step = TrainingStep(size, side, batch, device)
        row = measured("training", f"{size}, stage I, batch {batch}", side * 8, step, device)
        yield row if row.note else replace(row, note=use_of_peak(step, row, batch))


class TrainingStep:
    """A stage I step on random latents: (batch, 16, side, side) and what they are enlarged from."""

    def __init__(self, size: str, side: int, batch: int, device: str) -> None:
        self.adapter = LatentUpscaler(AdapterConfig.sized(size, channels=16, skip="none")).to(device)
        self.optimizer = torch.optim.AdamW(self.adapter.parameters(), lr=1e-5, fused=device == "cuda")
        self.config = RunConfig(loss={"latent_l1": 1.0, "latent_fft": 0.1})
        sides = {"hr": side, **{f"lr_x{scale}": side // scale for scale in self.config.adapter.scales}}
        self.pairs = {name: torch.randn(batch, 16, size, size, device=device) for name, size in sides.items()}
        self.device = device

    def __call__(self) -> None:
        with torch.autocast(self.device, torch.bfloat16):
            *_, terms = step_terms(self.adapter, None, self.config, self.pairs, 0)  # type: ignore[arg-type]
        self.optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        self.optimizer.step()


def use_of_peak(step: Callable[[], object], row: Row, batch: int) -> str:
    """Return images per second and, where the card's peak is known, the share of it that a step uses."""
    assert row.milliseconds is not None
    with FlopCounterMode(display=False) as counter:
        step()
    rate = 1000 * counter.get_total_flops() / row.milliseconds
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((value for card, value in PEAK_FLOPS.items() if card in name), None)
    share = f", {100 * rate / peak:.1f} % of {peak / 1e12:.0f} TFLOP/s" if peak else ""
    return f"{1000 * batch / row.milliseconds:.1f} images/s, {rate / 1e12:.3g} TFLOP/s{share}"


def run_tests() -> str:
    """Return the closing line of the tests marked `gpu`."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/gpu"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode not in (0, 5):
        print(result.stdout[-6000:], result.stderr[-2000:], file=sys.stderr)
    lines = [line for line in result.stdout.splitlines() if line.strip()]
    return lines[-1] if lines else f"pytest ended with status {result.returncode}"


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| what | case | result, px | ms | peak, MiB | note |", "|---|---|---:|---:|---:|---|"]
    for row in rows:
        taken = "" if row.milliseconds is None else f"{row.milliseconds:.1f}"
        peak = "" if row.mib is None else f"{row.mib:.0f}"
        lines.append(f"| {row.part} | {row.case} | {row.px} | {taken} | {peak} | {row.note} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the checks and the measurements, write `gpu-check.json`, print the table; 1 when a check failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu-check.json"), help="(default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=9.0, help="start nothing later than this (default: 9)")
    parser.add_argument("--compiled", action="store_true", help="measure compiled adapters too, which takes minutes")
    parser.add_argument("--skip-tests", action="store_true", help="measure only")
    options = parser.parse_args(arguments)
    device = "cuda" if best_device() == "cuda" else "cpu"
    if device == "cpu":
        print("there is no CUDA GPU here: the same rows follow for the CPU, at smaller sizes", file=sys.stderr)
    deadline = time.monotonic() + 60 * options.minutes
    tests = "skipped" if options.skip_tests else run_tests()
    print(f"tests: {tests}", file=sys.stderr)
    report: dict[str, Any] = {**run_info(), "tests": tests, "complete": False, "rows": []}
    for row in all_rows(device, options.compiled):
        report["rows"].append(asdict(row))
        if time.monotonic() > deadline:
            break
        write_json(options.output, report)  # what is measured stays, whatever comes next
    else:
        report["complete"] = True
    write_json(options.output, report)
    print(table([Row(**row) for row in report["rows"]]))
    verdicts = [tests, *(row["note"] for row in report["rows"])]
    return int(any("failed" in verdict or "error" in verdict for verdict in verdicts))


def all_rows(device: str, compiled: bool) -> Iterator[Row]:
    """Yield every measurement, the most wanted first."""
    yield from training_rows(device)
    with torch.no_grad():
        yield from decoder_rows(device)
        yield from adapter_rows(device, compiled=False)
        yield from method_rows(device)
        if compiled:
            yield from adapter_rows(device, compiled=True)


if __name__ == "__main__":
    sys.exit(main())

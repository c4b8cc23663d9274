"""How long a benchmark will take, from one timed pass through the generator and a small image by each other method."""

import time
from collections.abc import Mapping, Sequence

import torch
from rich.console import Console

from baselines.contract import Start, Unavailable, World
from baselines.demofusion import DemoFusion, view_starts
from baselines.denoising import Denoiser
from baselines.lsrna import LsrnaSettings
from baselines.registry import method_class
from benchmarks.benchmark import Benchmark
from benchmarks.protocol import CROP_PX, WARM_UPS

ATTENTION = 1.5  # how much more than its area a larger image takes, where it goes through the network whole
USUAL_STEPS = 50  # of a generator that says its own only when it is loaded
FIXED_SECONDS = 2.0  # of an image's decoding and storing, and of a method's row
TIMED = 2  # runs of each, of which the faster counts: the first seconds on a new machine are slow
PROBE = 64  # side in pixels of the base image that is enlarged to time a method without a diffusion pass


def native_passes(method: str, factor: int, steps: int | None) -> float:
    """Return how many passes at the base size an image of a method amounts to, beyond the base image's own.

    Args:
        method: Its name.
        factor: Side of the image over the base image's.
        steps: Denoising steps of every diffusion pass; None takes the method's published number.
    """
    whole = factor**2 * ATTENTION
    if method == "lua-refine":
        return 0.3 * (steps or 30) * whole
    if not method_class(method).needs_prompt:
        return 0.0
    if method in ("demofusion", "lsrna-demofusion"):
        settings = method_class(method).settings_type
        assert settings is not None
        published = settings()
        phases = range(2, factor + 1) if method == DemoFusion.name else [factor]
        per_step = sum(len(view_starts(2 * phase, 2, 1)) ** 2 + phase**2 for phase in phases)
        share = published.inversion_depth / published.steps if isinstance(published, LsrnaSettings) else 1.0
        return (steps or published.steps) * share * per_step
    return (steps or 30) * whole


@torch.inference_mode()
def seconds_per_pass(world: World, base_size: int) -> float | None:
    """Return the seconds of one guided pass at the base size; None where the generator is not of SDXL's class."""
    side = base_size // world.codec.downscale
    try:
        denoiser = Denoiser(world.generator, "a lake", (side, side))
    except Unavailable:
        return None
    latents = torch.randn(1, world.codec.channels, side, side, device=world.device)
    moment = denoiser.timesteps(2)[0]

    def seconds() -> float:
        started = time.perf_counter()
        denoiser.predict(latents, moment)
        if world.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - started

    seconds()  # warms up
    return min(seconds() for _ in range(TIMED))


def seconds_per_pixel(benchmark: Benchmark, world: World, methods: Sequence[str]) -> dict[str, float]:
    """Return the seconds that a pixel of the result takes by each method that asks no generator and runs here."""
    side, size, found = PROBE // world.codec.downscale, PROBE * benchmark.scale, {}
    start = Start(torch.randn(1, world.codec.channels, side, side, device=world.device))
    for name in benchmark.enlarging:
        if name not in methods:
            continue
        try:
            method = benchmark.method(name, world)
            method.run(start, size)  # warms up
            seconds = min(sum(method.run(start, size).seconds.values()) for _ in range(TIMED))
        except Exception:  # its own row will say why it does not run
            continue
        found[name] = seconds / size**2
    return found


def estimate(
    benchmark: Benchmark, methods: Sequence[str], images: int, one: float, pixel: Mapping[str, float]
) -> float:
    """Return about how many seconds a benchmark takes.

    Args:
        benchmark: What is measured.
        methods: The methods whose images are missing.
        images: Prompts of this process.
        one: Seconds of one pass at the base size.
        pixel: Seconds of a pixel of the result, by method.
    """
    size, steps = benchmark.size, benchmark.steps
    published_steps = benchmark.facts.steps or USUAL_STEPS
    passes = (steps or published_steps) + sum(native_passes(name, benchmark.scale, steps) for name in methods)
    plain = sum(pixel.values())
    generation = images * (passes * one + FIXED_SECONDS * len(methods) * (size / 1024) ** 2)
    generation += (images + WARM_UPS) * plain * size**2
    crops = benchmark.config.crops_per_photo * len(benchmark.photos.split("test"))
    return generation + crops * plain * CROP_PX**2 + FIXED_SECONDS * 20


def announce(benchmark: Benchmark, world: World, methods: Sequence[str], images: int) -> None:
    """Say on stderr about how long a benchmark will take, before it starts.

    Args:
        benchmark: What is measured.
        world: Its generator and adapter.
        methods: The methods whose images are missing.
        images: Prompts of this process.
    """
    one = seconds_per_pass(world, benchmark.base_size) if methods else None
    if one is not None:
        pixel = seconds_per_pixel(benchmark, world, methods)
        minutes = estimate(benchmark, methods, max(1, images), one, pixel) / 60
        text = f"{images} images by each of {len(methods)} methods: about {max(1, round(minutes))} min"
        Console(stderr=True).print(text, highlight=False)

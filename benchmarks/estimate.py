"""How long a benchmark will take, from one timed pass through the generator and a small image by each other method."""

import time
from collections.abc import Mapping, Sequence

import torch

from baselines.contract import Start, Unavailable, World
from baselines.demofusion import DemoFusion, view_starts
from baselines.denoising import Denoiser
from baselines.lsrna import LsrnaSettings
from baselines.registry import build_method, method_class
from benchmarks.config import BenchConfig
from benchmarks.generation import WARM_UPS, enlarging
from benchmarks.reconstruction import CROP
from lua_lightning.generators.catalogue import GeneratorFacts

ATTENTION = 1.5  # how much more than its area a larger image takes, where it goes through the network whole
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


def seconds_per_pixel(config: BenchConfig, world: World, methods: Sequence[str], factor: int) -> dict[str, float]:
    """Return the seconds that a pixel of the result takes by each method that asks no generator and runs here."""
    side, found = PROBE // world.codec.downscale, {}
    start = Start(torch.randn(1, world.codec.channels, side, side, device=world.device))
    for name in enlarging(methods):
        try:
            method = build_method(name, world, config.settings.get(name, []))
            method.run(start, PROBE * factor)  # warms up
            seconds = min(sum(method.run(start, PROBE * factor).seconds.values()) for _ in range(TIMED))
        except Exception:  # its own row will say why it does not run
            continue
        found[name] = seconds / (PROBE * factor) ** 2
    return found


def estimate(
    config: BenchConfig,
    facts: GeneratorFacts,
    methods: Sequence[str],
    images: int,
    crops: int,
    one: float,
    pixel: Mapping[str, float],
) -> float:
    """Return about how many seconds a benchmark takes.

    Args:
        config: The benchmark.
        facts: Of its generator.
        methods: Those whose images are missing.
        images: Prompts of this process.
        crops: Of the reconstruction track.
        one: Seconds of one pass at the base size.
        pixel: Seconds of a pixel of the result, by method.
    """
    factor = config.size // facts.base_size(config.size)
    steps = config.steps or None
    passes = (steps or facts.steps) + sum(native_passes(name, factor, steps) for name in methods)
    plain = sum(pixel.values())
    generation = images * (passes * one + FIXED_SECONDS * len(methods) * (config.size / 1024) ** 2)
    generation += (images + WARM_UPS) * plain * config.size**2
    return generation + crops * plain * CROP**2 + FIXED_SECONDS * 20

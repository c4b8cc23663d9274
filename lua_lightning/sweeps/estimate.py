"""How long the runs of a sweep will take, from a timed step and a timed validation crop of each kind of stage."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from lua_lightning.config import RunConfig
from lua_lightning.environment import native_bf16
from lua_lightning.evaluation.perceptual import available
from lua_lightning.evaluation.scoring import adapter_scores, reference
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.training.losses import active
from lua_lightning.training.module import step_terms
from lua_lightning.training.train import build_adapter

FIXED_SECONDS = 15.0  # of a stage: imports, reading the cache, export


@dataclass(frozen=True)
class Rate:
    """What a stage costs on this device, in seconds.

    Attributes:
        joint: A step that supervises every head.
        single: A step that supervises one.
        known: The rivals' images and scores of one validation crop, at every scale.
        crop: The adapter's scores of one validation crop, at every scale.
    """

    joint: float
    single: float
    known: float
    crop: float


class Estimator:
    """Estimates seconds of stages; what costs the same is timed once.

    Loading the codec and building the network of every kind of stage, it also refuses early what no run could use.
    """

    def __init__(self) -> None:
        self._rates: dict[tuple[object, ...], Rate] = {}

    def seconds(self, run: RunConfig) -> float:
        """Return about how long a stage takes, without building its cache.

        Raises:
            UserError: Its codec, its network or its photographs cannot be loaded.
        """
        rate, settings = self._rate(run), run.train
        joint = min(settings.steps, round(settings.joint_fraction * settings.steps))
        photos = sum(photo.split == "val" for photo in PhotoSet.load(run.data.photos).photos)
        crops = photos * run.cache.held_out_crops_per_photo
        validations = -(-settings.steps // min(run.validation.every, settings.steps))
        training = (joint * rate.joint + (settings.steps - joint) * rate.single) * settings.accumulate
        return FIXED_SECONDS + training + crops * (rate.known + validations * rate.crop)

    def _rate(self, run: RunConfig) -> Rate:
        settings = run.train
        kind = (
            run.cache.codec,
            run.cache.crop_px,
            repr(run.adapter),
            settings.batch_size,
            settings.crop_latents,
            settings.decode_latents,
            settings.precision,
            bool(active(run.loss, "pixel")),
        )
        if kind not in self._rates:
            self._rates[kind] = _timed(run)
        return self._rates[kind]


def _timed(run: RunConfig) -> Rate:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    codec = LatentCodec.from_pretrained(run.cache.codec).to(device)
    adapter = build_adapter(run, codec, run.adapter.init_from).to(device)
    if adapter.config.latent_range is None:  # which a bounded residual asks for, and only the cache knows
        adapter.set_latent_range([-1.0] * codec.channels, [1.0] * codec.channels)
    low_precision = run.train.precision == "bf16-mixed" or (run.train.precision == "auto" and native_bf16())

    def batch(count: int, side: int) -> dict[str, torch.Tensor]:
        latents = {1: "hr", **{scale: f"lr_x{scale}" for scale in run.adapter.scales}}
        pairs = {
            name: torch.randn(count, codec.channels, side // scale, side // scale, device=device)
            for scale, name in latents.items()
        }
        pairs["image"] = torch.zeros(count, 3, side * codec.downscale, side * codec.downscale, device=device)
        return pairs

    patches = batch(run.train.batch_size, run.train.crop_latents)

    def step(joint: bool) -> None:
        heads = replace(run, train=replace(run.train, joint_fraction=float(joint)))
        with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
            _, _, weighted = step_terms(adapter, codec, heads, patches, 0)
        torch.stack(list(weighted.values())).sum().backward()

    side = run.cache.crop_px // codec.downscale
    crop = batch(1, side)
    distances = [distance.to(device) for distance in available()]
    return Rate(
        _seconds(lambda: step(True)),
        _seconds(lambda: step(False)),
        _seconds(lambda: [reference(codec, crop, scale) for scale in run.adapter.scales]),
        _seconds(lambda: [adapter_scores(adapter, codec, crop, scale, distances) for scale in run.adapter.scales]),
    )


def _seconds(work: Callable[[], object]) -> float:
    work()
    _synchronise()
    started = time.perf_counter()
    work()
    _synchronise()
    return time.perf_counter() - started


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()

"""The contract of a method: from a start that all methods share to one image, with its phases measured."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from baselines.clock import Clock
from lua_lightning.environment import best_device, native_bf16, use_tensor_cores
from lua_lightning.errors import UserError
from lua_lightning.generators.catalogue import GENERATORS
from lua_lightning.generators.generator import Generator
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec

TILE = 1024  # side in pixels of the tiles that large images are decoded in
PIXEL_TILE, PIXEL_OVERLAP = 512, 32  # of the input of pixel networks


class Unavailable(UserError):
    """A method that cannot run here; the sentence says why and what would let it."""


def adapter_dtype(device: str) -> torch.dtype:
    """Return the number format that the adapter runs in on a device."""
    return torch.bfloat16 if torch.device(device).type == "cuda" and native_bf16() else torch.float32


@dataclass
class World:
    """What the methods work with; loaded when first asked for.

    Attributes:
        generator_name: Name, folder or hub id of the generator.
        adapter_name: Name, folder or hub id of the adapter that `lua` uses.
        device: Where everything runs.
        steps: Denoising steps of the generator; None takes its own number.
        offload: What of the generator waits in the CPU's memory: none, model or sequential.
    """

    generator_name: str = "tiny-sdxl"
    adapter_name: str = "lua-tiny-d16"
    device: str = field(default_factory=best_device)
    steps: int | None = None
    offload: str = "none"

    def __post_init__(self) -> None:
        use_tensor_cores(self.device)

    @cached_property
    def generator(self) -> Generator:
        """The generator, on the device."""
        return Generator.from_pretrained(self.generator_name, device=self.device, offload=self.offload)

    @cached_property
    def codec(self) -> LatentCodec:
        """The generator's codec, on the device."""
        return self.generator.codec.to(self.device)

    @cached_property
    def adapter(self) -> LatentUpscaler:
        """The adapter, on the device; in bfloat16 where a GPU multiplies it, as published networks are timed."""
        dtype = adapter_dtype(self.device)
        return LatentUpscaler.from_pretrained(self.adapter_name).to(self.device, dtype).eval()

    def clock(self) -> Clock:
        """Return a clock for this device."""
        return Clock(self.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (N, 3, H, W) in [-1, 1] of normalised latents; in tiles when larger than `TILE` pixels."""
        return self.codec.decode(latents, tile=TILE // self.codec.downscale).float().clamp(-1, 1)

    def start(self, prompt: str, seed: int, base_size: int) -> "Start":
        """Return the base image that every method enlarges, its latents sampled and timed."""
        clock = self.clock()
        with clock.phase("generate"), torch.inference_mode():
            latents = self.generator.latents([prompt], [seed], base_size, base_size, self.steps)
        return Start(latents, prompt, seed, clock.seconds["generate"], clock.peak_mib["generate"])


@dataclass(frozen=True)
class Start:
    """Where a method starts: the base image's latents, sampled once for all methods, or those of a photograph.

    Attributes:
        sampled: Normalised latents (1, C, h, w); None where only methods that sample anew will start here.
        prompt: Text of the image; None for a photograph, which only methods that enlarge can use.
        seed: Of the image; a method's own noise is drawn from it too.
        seconds: What sampling the latents took.
        peak_mib: Peak memory of it in MiB.
    """

    sampled: Tensor | None
    prompt: str | None = None
    seed: int = 0
    seconds: float = 0.0
    peak_mib: float = 0.0

    @property
    def latents(self) -> Tensor:
        """The base latents.

        Raises:
            ValueError: This start has none.
        """
        if self.sampled is None:
            raise ValueError("this start has no base latents")
        return self.sampled


@dataclass(frozen=True)
class Outcome:
    """One image of one method.

    Attributes:
        image: (1, 3, H, W) in [-1, 1].
        seconds: By phase.
        peak_mib: Peak memory in MiB by phase.
        shared: Phases that were not run for this method but once for several, whose seconds are counted here too.
    """

    image: Tensor
    seconds: dict[str, float]
    peak_mib: dict[str, float]
    shared: tuple[str, ...] = ()


class Method(ABC):
    """A way from base latents, or from a prompt alone, to an image of the asked size.

    Attributes:
        name: Of the row in the benchmark.
        enlarges: It begins at the base latents, so that it can also enlarge a photograph's; else it samples anew.
        needs_prompt: It asks the generator, so a photograph without a prompt is not enough.
        settings_type: Dataclass of its own settings; None when it has none.
    """

    name: ClassVar[str]
    enlarges: ClassVar[bool] = True
    needs_prompt: ClassVar[bool] = False
    settings_type: ClassVar[type | None] = None

    def __init__(self, world: World, settings: Any = None):
        self.world, self.settings = world, settings

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the weights come from that determine the image: names, folders, files or hub ids."""
        known = GENERATORS.get(self.world.generator_name)
        return (self.world.generator_name, *([known.codec] if known and known.codec else []))

    def check(self, size: int) -> None:  # noqa: B027 - most methods have nothing to refuse
        """Refuse at once what cannot work.

        Raises:
            Unavailable: With the reason.
        """

    @abstractmethod
    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        """Return the image (1, 3, size, size) in [-1, 1], its phases measured by `clock`."""

    def run(self, start: Start, size: int) -> Outcome:
        """Make the image of `size` pixels a side.

        Raises:
            Unavailable: The method cannot work here.
            UserError: It needs a prompt, and the start is a photograph.
        """
        if self.needs_prompt and start.prompt is None:
            raise UserError(f"{self.name} asks the generator, which needs a prompt: it cannot enlarge a photograph")
        self.check(size)
        clock = self.world.clock()
        with torch.inference_mode():
            image = self.make(start, size, clock)
        seconds, peak = dict(clock.seconds), dict(clock.peak_mib)
        shared = ()
        if self.enlarges and start.prompt is not None:
            seconds["generate"] = start.seconds + seconds.get("generate", 0.0)
            peak["generate"] = max(start.peak_mib, peak.get("generate", 0.0))
            shared = ("generate",)
        return Outcome(image.float().clamp(-1, 1).cpu(), seconds, peak, shared)

    def scale(self, start: Start, size: int) -> int:
        """Return how many times larger the image becomes than its base.

        Raises:
            UserError: It is not a whole number.
        """
        base = start.latents.shape[-1] * self.world.codec.downscale
        if size % base:
            raise UserError(f"{self.name} enlarges {base} px by whole factors, and {size} px is none")
        return size // base

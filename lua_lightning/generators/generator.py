"""Generators: diffusers' own pipelines, stopped at normalised latents."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from lua_lightning.errors import UserError, unknown_name
from lua_lightning.generators.catalogue import OFFLOADS, GeneratorFacts, find_generator
from lua_lightning.generators.codec_vae import CodecAutoencoder, codec_of
from lua_lightning.models.codec import LatentCodec

UNIT = 16  # sides in pixels are multiples of this: 8 for the autoencoder, 2 for the cells that FLUX packs


def whole(latents: Tensor, height: int, width: int) -> Tensor:
    """Return latents that a pipeline already gives as (N, C, height, width)."""
    return latents


def unpack(latents: Tensor, height: int, width: int) -> Tensor:
    """Return latents (N, C, height, width) that FLUX packs as (N, height/2 * width/2, 4C), 2x2 cells in channels."""
    cells = latents.transpose(1, 2).reshape(len(latents), -1, height // 2, width // 2)
    return torch.nn.functional.pixel_shuffle(cells, 2)


@dataclass(frozen=True)
class Family:
    """How the pipelines of one class are called and what they give."""

    unpack: Callable[[Tensor, int, int], Tensor] = whole
    negative_prompt: bool = False
    eta: bool = False  # the DDIM parameter; the pipeline runs on DDIM, as published


FAMILIES = {
    "StableDiffusionXLPipeline": Family(negative_prompt=True, eta=True),
    "StableDiffusion3Pipeline": Family(negative_prompt=True),
    "FluxPipeline": Family(unpack),
    "Flux2Pipeline": Family(unpack),
}


def family_of(pipe: Any) -> Family:
    """Return how a loaded pipeline is called.

    Raises:
        UserError: Its class is not one of `FAMILIES`.
    """
    name = type(pipe).__name__
    if name not in FAMILIES:
        raise UserError(f"a pipeline of class {name} is not one of: {', '.join(FAMILIES)}")
    return FAMILIES[name]


class Generator:
    """Sample normalised latents for prompts, one image at a time.

    Every image has its own seed and its own pass through the network, so it is the same image in any batch and on any
    share of the work. Noise is drawn on the CPU: the same on every device.

    >>> generator = Generator.from_pretrained("tiny-sdxl")
    >>> generator.latents(["a mountain lake"], seeds=[0], height=64, width=96, steps=1).shape
    torch.Size([1, 16, 8, 12])

    Attributes:
        facts: Its settings: native size, steps, guidance, sizes it is enlarged to.
        pipe: The diffusers pipeline.
        codec: The codec of its latents.
    """

    def __init__(self, pipe: Any, codec: LatentCodec, facts: GeneratorFacts):
        self.pipe, self.codec, self.facts, self.family = pipe, codec, facts, family_of(pipe)
        pipe.set_progress_bar_config(disable=True)

    @classmethod
    def from_pretrained(
        cls, name: str, codec: str | None = None, device: str = "cpu", offload: str = "none"
    ) -> "Generator":
        """Load a generator by name, folder or hub id.

        Args:
            name: `tiny-sdxl`, `sdxl`, `sd3`, `flux`, `flux2`, a folder or a hub id in diffusers' pipeline format.
            codec: Name of another codec for its latents than its own.
            device: Where it runs; on a CPU it works in float32.
            offload: One of `OFFLOADS`: what waits in the CPU's memory while it does not run, see diffusers'
                `enable_model_cpu_offload` and `enable_sequential_cpu_offload`.

        Raises:
            UserError: Its weights are not within reach, or cannot be loaded, or there is nothing to offload from.
        """
        if offload not in OFFLOADS:
            raise unknown_name("offload", offload, OFFLOADS)
        if offload != "none" and device == "cpu":
            raise UserError(f"offload={offload} needs a GPU to offload from: use offload=none on a CPU")
        facts = find_generator(name)
        dtype = torch.float32 if device == "cpu" else getattr(torch, facts.dtype)
        settings: dict[str, Any] = {"dtype": dtype}
        if facts.variant and not Path(facts.source).is_dir():
            settings["variant"] = facts.variant
        codec = codec or facts.codec
        if codec:
            settings["vae"] = CodecAutoencoder(codec)
        try:
            with quiet_loading():
                pipe = diffusers.DiffusionPipeline.from_pretrained(facts.source, **settings)
        except (OSError, ValueError, RuntimeError, KeyError) as error:  # damaged, incomplete, gated or unreachable
            raise UserError(
                f"the generator {name} cannot be loaded from {facts.source}: {' '.join(str(error).split())[:300]}"
            ) from error
        if family_of(pipe).eta:
            pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
        own: Any = pipe.vae
        if offload == "none":
            pipe.to(device)
        if getattr(own.config, "force_upcast", False):  # as its authors mark an autoencoder that overflows in float16
            own.to(torch.float32)
        if offload == "model":
            pipe.enable_model_cpu_offload(device=device)
        elif offload == "sequential":
            pipe.enable_sequential_cpu_offload(device=device)
        return cls(pipe, codec_of(own, facts.source), facts)

    @property
    def device(self) -> torch.device:
        """Where the pipeline runs."""
        return self.pipe._execution_device

    def latents(
        self,
        prompts: list[str],
        seeds: list[int],
        height: int,
        width: int,
        steps: int | None = None,
        eta: float = 0.0,
    ) -> Tensor:
        """Return normalised latents (N, C, height/8, width/8), float32, one image per prompt and seed.

        Args:
            prompts: One text per image.
            seeds: One seed per image.
            height: Pixels, a multiple of 16.
            width: Pixels, a multiple of 16.
            steps: Denoising steps; None takes the generator's own number.
            eta: DDIM's noise parameter, in [0, 1]; pipelines that do not run on DDIM have none and leave it out.

        Raises:
            UserError: The sides are not multiples of 16, or there are not as many seeds as prompts.
        """
        if height % UNIT or width % UNIT:
            raise UserError(f"{width}x{height} px cannot be generated: both sides must be multiples of {UNIT}")
        if len(prompts) != len(seeds):
            raise UserError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")
        images = [
            self._one(prompt, seed, height, width, steps, eta) for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        return torch.cat(images)

    def _one(self, prompt: str, seed: int, height: int, width: int, steps: int | None, eta: float) -> Tensor:
        arguments: dict[str, Any] = {
            "prompt": prompt,
            "height": height,
            "width": width,
            "num_inference_steps": steps or self.facts.steps,
            "guidance_scale": self.facts.guidance_scale,
            "generator": torch.Generator("cpu").manual_seed(seed),
            "output_type": "latent",
        }
        if self.family.negative_prompt and self.facts.negative_prompt:
            arguments["negative_prompt"] = self.facts.negative_prompt
        if self.family.eta:
            arguments["eta"] = eta
        packed = self.pipe(**arguments).images
        return self.family.unpack(packed, height // 8, width // 8).float()


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence the progress bars of diffusers and transformers, and remarks on parts of other classes than usual."""
    import transformers

    libraries = diffusers.utils.logging, transformers.utils.logging
    levels = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.disable_progress_bar()
        library.set_verbosity_error()
    try:
        yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.enable_progress_bar()
            library.set_verbosity(level)

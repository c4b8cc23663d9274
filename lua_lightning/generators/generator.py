"""Generators: diffusers' own pipelines, stopped at normalised latents."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from lua_lightning.errors import UserError, unknown_name
from lua_lightning.generators.catalogue import OFFLOADS, GeneratorFacts, find_generator, of_class
from lua_lightning.generators.codec_vae import CodecAutoencoder, codec_of
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pipeline_parts import latents_of

CELL = 2  # sides are multiples of so many latents: several pipelines pack 2x2 of them


NEEDED = ("prompt", "height", "width", "num_inference_steps", "generator", "output_type")


def misfit(pipe: Any) -> str | None:
    """Return why a loaded pipeline cannot make an image of a prompt alone; None where it can."""
    if not isinstance(getattr(pipe, "vae", None), torch.nn.Module):
        return "has no autoencoder (`vae`)"
    parameters = _parameters(pipe)
    missing = [name for name in NEEDED if name not in parameters]
    if missing:
        return f"is not called with {', '.join(missing)}"
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and parameter.kind not in variadic and name not in NEEDED:
            return f"needs {name} beside the prompt"
    return None


def _parameters(pipe: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(pipe.__call__).parameters


def settled(facts: GeneratorFacts, pipe: Any) -> GeneratorFacts:
    """Return the facts of a loaded pipeline, what was open being its call's own defaults.

    Raises:
        UserError: It does not make images of a prompt alone.
    """
    if facts.steps is None:
        facts = of_class(facts, type(pipe).__name__)
    reason = misfit(pipe)
    if reason:
        raise UserError(f"{facts.name} is a {type(pipe).__name__}, which {reason}: a text-to-image pipeline is needed")
    steps, guidance = facts.steps, facts.guidance_scale
    if steps is None:
        steps = _parameters(pipe)["num_inference_steps"].default
    if guidance is None:
        names = ("true_cfg_scale", "guidance_scale") if _guided_truly(pipe) else ("guidance_scale",)
        guidance = next((_parameters(pipe)[name].default for name in names if name in _parameters(pipe)), None)
    return replace(facts, steps=steps, guidance_scale=guidance)


def _guided_truly(pipe: Any) -> bool:
    """Return whether `true_cfg_scale` is what guides, as Qwen-Image's; FLUX's is off, its guidance being distilled."""
    scale = _parameters(pipe).get("true_cfg_scale")
    return scale is not None and scale.default > 1


def _on_ddim(pipe: Any) -> bool:
    """Return whether a pipeline runs on DDIM, as published for SDXL."""
    return type(pipe).__name__ == "StableDiffusionXLPipeline"


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
        self.pipe, self.codec, self.facts = pipe, codec, settled(facts, pipe)
        pipe.set_progress_bar_config(disable=True)

    @classmethod
    def from_pretrained(
        cls, name: str, codec: str | None = None, device: str = "cpu", offload: str = "none"
    ) -> "Generator":
        """Load a generator by name, folder or hub id.

        Args:
            name: `tiny-sdxl`, `sdxl`, `sd3`, `flux`, `flux2`, a folder or a hub id in diffusers' pipeline format: any
                pipeline that makes images of a prompt alone with an autoencoder of a known class.
            codec: Name of another codec for its latents than its own.
            device: Where it runs; on a CPU it works in float32.
            offload: One of `OFFLOADS`: what waits in the CPU's memory while it does not run, see diffusers'
                `enable_model_cpu_offload` and `enable_sequential_cpu_offload`.

        Raises:
            UserError: Its weights are not within reach, or cannot be loaded, or need a picture beside the prompt; or
                there is nothing to offload from.
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
        facts = settled(facts, pipe)
        if _on_ddim(pipe):
            pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
        vae: Any = pipe.vae
        if offload == "none":
            pipe.to(device)
        if getattr(vae.config, "force_upcast", False):  # as its authors mark an autoencoder that overflows in float16
            with quiet_loading():
                vae.to(torch.float32)
        if offload == "model":
            pipe.enable_model_cpu_offload(device=device)
        elif offload == "sequential":
            pipe.enable_sequential_cpu_offload(device=device)
        return cls(pipe, codec_of(vae, facts.source), facts)

    @property
    def steps(self) -> int:
        """Its own number of denoising steps."""
        return self.facts.steps or 0

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
        """Return normalised latents (N, C, height/downscale, width/downscale), float32, an image per prompt and seed.

        Args:
            prompts: One text per image.
            seeds: One seed per image.
            height: Pixels, a multiple of two latents: of 16 for most autoencoders.
            width: Likewise.
            steps: Denoising steps; None takes the generator's own number.
            eta: DDIM's noise parameter, in [0, 1]; pipelines that do not run on DDIM have none and leave it out.

        Raises:
            UserError: The sides are not such multiples, or there are not as many seeds as prompts.
        """
        unit = CELL * self.codec.downscale
        if height % unit or width % unit:
            raise UserError(f"{width}x{height} px cannot be generated: both sides must be multiples of {unit}")
        if len(prompts) != len(seeds):
            raise UserError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")
        return torch.cat(
            [
                latents_of(self.pipe, **self.call(prompt, seed, steps, eta), height=height, width=width)
                for prompt, seed in zip(prompts, seeds, strict=True)
            ]
        )

    def call(self, prompt: str, seed: int, steps: int | None = None, eta: float = 0.0) -> dict[str, Any]:
        """Return what its pipeline is called with for one image, but for its size."""
        known, facts = _parameters(self.pipe), self.facts
        arguments: dict[str, Any] = {
            "prompt": prompt,
            "num_inference_steps": steps or facts.steps,
            "generator": torch.Generator("cpu").manual_seed(seed),
        }
        if _guided_truly(self.pipe):
            arguments |= {"true_cfg_scale": facts.guidance_scale, "negative_prompt": facts.negative_prompt or " "}
        elif "guidance_scale" in known:
            arguments["guidance_scale"] = facts.guidance_scale
            if facts.negative_prompt and "negative_prompt" in known:
                arguments["negative_prompt"] = facts.negative_prompt
        if _on_ddim(self.pipe):
            arguments["eta"] = eta
        if "num_frames" in known:  # of a film: one is an image
            arguments["num_frames"] = 1
        if "use_resolution_binning" in known:  # which would make another size
            arguments["use_resolution_binning"] = False
        return arguments


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

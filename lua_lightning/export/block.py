"""The adapter as a step of diffusers' modular pipelines; `export modular` sends it out, joined with `layouts.py`."""

from typing import Any

import torch
from diffusers import AutoModel
from diffusers.modular_pipelines import ComponentSpec, InputParam, ModularPipelineBlocks, OutputParam, PipelineState

from lua_lightning.export.layouts import enlarged


class LatentUpscaleStep(ModularPipelineBlocks):
    """Enlarge the denoised latents; insert it before the step that decodes them."""

    @property
    def description(self) -> str:
        """What the step does."""
        return "Enlarge the denoised latents by a latent upscaler adapter (LUA, arXiv 2511.10629), before decoding"

    @property
    def expected_components(self) -> list[ComponentSpec]:
        """The adapter; the pipeline's own `vae` is used too where the adapter works on raw latents."""
        return [ComponentSpec("latent_upscaler", AutoModel)]

    @property
    def inputs(self) -> list[InputParam]:
        """The latents, how much to enlarge them, and what refers to pixels of the image that they are."""
        return [
            InputParam("latents", required=True, type_hint=torch.Tensor, description="Denoised, unpacked latents"),
            InputParam("upscale", default=2, type_hint=int, description="2 or 4; 1 leaves the latents as they are"),
            InputParam("reference_crop", description="Boxes in pixels that FLUX.3 crops its images to, enlarged too"),
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """The enlarged latents, in place of the others."""
        return [OutputParam("latents", type_hint=torch.Tensor, description="The enlarged latents")]

    @torch.no_grad()
    def __call__(self, components: Any, state: PipelineState) -> tuple[Any, PipelineState]:
        """Enlarge the latents in `state`."""
        block_state: Any = self.get_block_state(state)
        scale = block_state.upscale
        if scale != 1:
            vae = getattr(components, "vae", None)
            block_state.latents = enlarged(components.latent_upscaler, vae, block_state.latents, scale)
        if scale != 1 and block_state.reference_crop is not None:
            boxes = block_state.reference_crop
            block_state.reference_crop = [box and tuple(side * scale for side in box) for box in boxes]
        self.set_block_state(state, block_state)
        return components, state

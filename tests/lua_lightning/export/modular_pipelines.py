"""Diffusers' modular pipelines made small and random: their blocks without text encoder, components and arguments."""

from typing import Any

import diffusers
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    Flux2AutoBlocks,
    FluxAutoBlocks,
    QwenImageAutoBlocks,
    StableDiffusionXLAutoBlocks,
)
from torch import Tensor

from tests.lua_lightning.generators.more_pipelines import qwen_image_parts
from tests.lua_lightning.generators.pipelines import pipeline
from tests.lua_lightning.models.autoencoders import build

HEIGHT, WIDTH = 64, 96


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def without_text(blocks: Any) -> Any:
    """Drop the steps that need a text encoder."""
    for name in ("text_encoder", "prompt_upsampler", "ip_adapter"):
        if name in blocks.sub_blocks:
            blocks.sub_blocks.pop(name)
    return blocks


def sdxl() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    pipe = pipeline("StableDiffusionXLPipeline")
    width = pipe.unet.config.cross_attention_dim
    pooled = pipe.text_encoder_2.config.projection_dim
    arguments = {
        "prompt_embeds": noise(1, 7, width),
        "pooled_prompt_embeds": noise(1, pooled),
        "negative_prompt_embeds": noise(1, 7, width),
        "negative_pooled_prompt_embeds": noise(1, pooled),
    }
    parts = {"unet": pipe.unet.float(), "vae": pipe.vae, "scheduler": pipe.scheduler}
    return without_text(StableDiffusionXLAutoBlocks()), parts, arguments


def flux() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    pipe = pipeline("FluxPipeline")
    arguments = {"prompt_embeds": noise(1, 7, 16), "pooled_prompt_embeds": noise(1, 16)}
    parts = {"transformer": pipe.transformer, "vae": pipe.vae, "scheduler": pipe.scheduler}
    return without_text(FluxAutoBlocks()), parts, arguments


def flux2() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    pipe = pipeline("Flux2Pipeline")
    parts = {"transformer": pipe.transformer, "vae": pipe.vae, "scheduler": pipe.scheduler}
    return without_text(Flux2AutoBlocks()), parts, {"prompt_embeds": noise(1, 7, 24)}


def flux3() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    torch.manual_seed(0)
    transformer = diffusers.Flux3Transformer2DModel(
        in_channels=16,
        cond_in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
    )
    parts = {
        "transformer": transformer,
        "vae": build("AutoencoderKLFlux2"),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=False),
    }
    arguments = {"prompt_embeds": noise(1, 7, 24), "negative_prompt_embeds": noise(1, 7, 24)}
    return without_text(diffusers.Flux3AutoBlocks()), parts, arguments


def qwen_image() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    transformer, vae = qwen_image_parts()
    mask = torch.ones(1, 7, dtype=torch.long)
    arguments = {
        "prompt_embeds": noise(1, 7, 16),
        "prompt_embeds_mask": mask,
        "negative_prompt_embeds": noise(1, 7, 16),
        "negative_prompt_embeds_mask": mask,
    }
    parts = {"transformer": transformer, "vae": vae, "scheduler": FlowMatchEulerDiscreteScheduler()}
    return without_text(QwenImageAutoBlocks()), parts, arguments


FAMILIES = {"SDXL": sdxl, "FLUX": flux, "FLUX.2": flux2, "Qwen-Image": qwen_image}
if hasattr(diffusers, "Flux3AutoBlocks"):  # from 0.42 on
    FAMILIES["FLUX.3"] = flux3


def run(blocks: Any, parts: dict[str, Any], arguments: dict[str, Any], output: str) -> Any:
    """Return one output of a small image."""
    pipe = blocks.init_pipeline()
    pipe.update_components(**parts)
    pipe.set_progress_bar_config(disable=True)
    sizes = {"height": HEIGHT, "width": WIDTH, "num_inference_steps": 2}
    generator = torch.Generator().manual_seed(0)
    return pipe(**arguments, **sizes, generator=generator, output_type="pt", output=output)

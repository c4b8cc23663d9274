"""Small pipelines of classes that the library does not list; what stands for a text is drawn from its letters."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPTextModel

from lua_lightning.generators.tiny_sdxl import clip_tokenizer
from tests.lua_lightning.generators.pipelines import clip
from tests.lua_lightning.models.autoencoders import build


def embedding(text: Any, width: int) -> Tensor:
    """Return what stands for the text that an encoder would make, (1, 5, width)."""
    text = text if isinstance(text, str) else "".join(text)
    return torch.randn(1, 5, width, generator=torch.Generator().manual_seed(sum(map(ord, text))))


def ready(pipe: Any) -> Any:
    """Return a pipeline without its progress bar and without randomness of training."""
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipe


def klein() -> Any:
    """Return a FLUX.2 Klein pipeline, whose latents are packed in its own way."""
    torch.manual_seed(0)
    transformer = Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_guidance_channels=32,
        axes_dims_rope=[4, 4, 4, 4],
    )
    pipe = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=build("AutoencoderKLFlux2"),
        text_encoder=None,  # pyright: ignore[reportArgumentType]
        tokenizer=None,  # pyright: ignore[reportArgumentType]
        transformer=transformer,
        is_distilled=True,
    )

    def encode_prompt(prompt: Any = None, **_: Any) -> tuple[Tensor, Tensor]:
        return embedding(prompt, 24), torch.zeros(1, 5, 4)

    pipe.encode_prompt = encode_prompt
    return ready(pipe)


def qwen_image_parts() -> tuple[QwenImageTransformer2DModel, AutoencoderKLQwenImage]:
    """Return Qwen-Image's transformer and its autoencoder of films."""
    torch.manual_seed(0)
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.0, 2.0, 0.5, 1.5],
    )
    return transformer, vae


def qwen() -> Any:
    """Return a Qwen-Image pipeline: packed latents, an autoencoder of films, and a guidance of its own name."""
    transformer, vae = qwen_image_parts()
    pipe = QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=None,  # pyright: ignore[reportArgumentType]
        tokenizer=None,  # pyright: ignore[reportArgumentType]
        transformer=transformer,
    )

    def encode_prompt(prompt: Any = None, **_: Any) -> tuple[Tensor, Tensor]:
        return embedding(prompt, 16), torch.ones(1, 5, dtype=torch.long)

    pipe.encode_prompt = encode_prompt
    return ready(pipe)


def stable_diffusion() -> Any:
    """Return a Stable Diffusion 1.5 pipeline, with its text encoder."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer(50)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    pipe = StableDiffusionPipeline(
        vae=build("AutoencoderKL (SDXL: no shift)"),
        text_encoder=clip(CLIPTextModel, tokenizer),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False),
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
    return ready(pipe)


OTHERS = {"Flux2KleinPipeline": klein, "QwenImagePipeline": qwen, "StableDiffusionPipeline": stable_diffusion}

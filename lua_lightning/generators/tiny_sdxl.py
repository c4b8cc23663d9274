"""The embedded generator's architecture: diffusers' StableDiffusionXLPipeline with every part made small."""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

MAX_TOKENS = 77


@dataclass(frozen=True)
class TinySDXLConfig:
    """Sizes of the untrained pipeline."""

    latent_channels: int = 16
    """Channels of the latents."""
    sample_size: int = 32
    """Native side, in latents."""
    block_out_channels: tuple[int, ...] = (64, 128, 128)
    """Channels of the UNet at each resolution; multiples of 32."""
    text_width: int = 64
    """Width of each of the two text encoders."""
    text_layers: int = 2
    """Layers of each of the two text encoders."""
    merges: int = 4000
    """How many of CLIP's byte pair merges the tokenizer keeps, the most frequent ones first."""
    time_embed_dim: int = 32
    """Width of the embedding of each of the six numbers of the micro-conditioning."""


def clip_tokenizer(merges: int) -> CLIPTokenizer:
    """Return CLIP's tokenizer cut to its first `merges` byte pair merges, from the vocabulary that open_clip ships.

    Merges are sorted by frequency: a shorter list splits rare words into more tokens, and leaves nothing out.
    """
    import open_clip
    from open_clip.tokenizer import bytes_to_unicode

    with gzip.open(Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8") as file:
        pairs = [line.split() for _, line in zip(range(merges + 1), file, strict=False)][1:]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in pairs)]
    vocabulary = {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(pair) for pair in pairs], model_max_length=MAX_TOKENS)  # pyright: ignore


def _text_config(config: TinySDXLConfig, tokenizer: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.text_width,
        intermediate_size=4 * config.text_width,
        num_hidden_layers=config.text_layers,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=config.text_width,
        hidden_act="quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _unet(config: TinySDXLConfig) -> UNet2DConditionModel:
    levels = len(config.block_out_channels)
    return UNet2DConditionModel(
        sample_size=config.sample_size,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        block_out_channels=config.block_out_channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * (levels - 1)),
        up_block_types=(*["CrossAttnUpBlock2D"] * (levels - 1), "UpBlock2D"),
        attention_head_dim=tuple(width // 32 for width in config.block_out_channels),  # pyright: ignore
        cross_attention_dim=2 * config.text_width,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=config.time_embed_dim,
        projection_class_embeddings_input_dim=config.text_width + 6 * config.time_embed_dim,
    )


def build_tiny_sdxl(config: TinySDXLConfig) -> StableDiffusionXLPipeline:
    """Return the pipeline with random weights and no autoencoder: it is used up to its latents.

    The scheduler predicts velocities with a terminal signal-to-noise ratio of zero and trailing steps, so that
    sampling starts where training ended (arXiv 2305.08891), and does not clip: latents are not images.
    """
    tokenizer: Any = clip_tokenizer(config.merges)
    text = _text_config(config, tokenizer)
    unet = _unet(config)
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )
    return StableDiffusionXLPipeline(
        vae=None,  # pyright: ignore
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=scheduler,  # pyright: ignore
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def parameters(pipe: StableDiffusionXLPipeline) -> list[torch.nn.Parameter]:
    """Return all trained weights: the UNet's and both text encoders'."""
    return [value for part in (pipe.unet, pipe.text_encoder, pipe.text_encoder_2) for value in part.parameters()]

"""Small pipelines of diffusers' real classes, with random weights."""

import accelerate
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from lua_lightning.generators.tiny_sdxl import TinySDXLConfig, build_tiny_sdxl, clip_tokenizer
from tests.lua_lightning.models.autoencoders import build

CLASSES = ["StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline", "Flux2Pipeline"]
SMALL_SDXL = TinySDXLConfig(
    latent_channels=4, sample_size=8, block_out_channels=(32, 64), text_width=16, text_layers=2, merges=50
)


def clip(kind, tokenizer, width=16):
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config)


def word_tokenizer(**settings):
    words = {word: index for index, word in enumerate(["<pad>", "<unk>", "</s>", "a", "lake", "hill", "[IMG]"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="</s>", **settings
    )


def t5(tokenizer, width):
    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )


def sd3():
    tokenizer, words = clip_tokenizer(50), word_tokenizer(model_max_length=512)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        out_channels=4,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=build("AutoencoderKL (SD3, FLUX: shift)"),
        text_encoder=clip(CLIPTextModelWithProjection, tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=clip(CLIPTextModelWithProjection, tokenizer),
        tokenizer_2=tokenizer,
        text_encoder_3=t5(words, 32),
        tokenizer_3=words,
    )


def flux():
    tokenizer, words = clip_tokenizer(50), word_tokenizer(model_max_length=512)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=[4, 4, 8],
        guidance_embeds=True,
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=build("AutoencoderKL (SD3, FLUX: shift)"),
        text_encoder=clip(CLIPTextModel, tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=t5(words, 16),
        tokenizer_2=words,
        transformer=transformer,
    )


def flux2():
    words = word_tokenizer(model_max_length=512)
    words.chat_template = "{% for m in messages %}{% for c in m['content'] %}{{ c['text'] }} {% endfor %}{% endfor %}"
    processor = PixtralProcessor(image_processor=PixtralImageProcessor(), tokenizer=words, image_token="[IMG]")
    processor.chat_template = words.chat_template
    text = {
        "model_type": "mistral",
        "vocab_size": len(words),
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 31,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 4,
    }
    vision = {"model_type": "pixtral", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    encoder = Mistral3ForConditionalGeneration(
        Mistral3Config(text_config=text, vision_config={**vision, "num_attention_heads": 2}, image_token_index=6)
    )
    transformer = Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,  # three layers of the text encoder
        timestep_guidance_channels=32,
        axes_dims_rope=[4, 4, 4, 4],
    )
    return Flux2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=build("AutoencoderKLFlux2"),
        text_encoder=encoder,
        tokenizer=processor,
        transformer=transformer,
    )


def sdxl():
    pipe = build_tiny_sdxl(SMALL_SDXL)
    pipe.register_modules(vae=build("AutoencoderKL (SDXL: no shift)"))
    return pipe


def sdxl_topology():
    """A UNet with the layer names of SDXL's, and small widths."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64, 96),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4, 6),
        transformer_layers_per_block=(1, 2, 10),
        cross_attention_dim=32,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=16 + 6 * 32,
        norm_num_groups=8,
    )


def pipeline(name):
    torch.manual_seed(0)
    builders = dict(zip(CLASSES, (sdxl, sd3, flux, flux2), strict=True))
    pipe = builders[name]()
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipe


def cpu_as_accelerator(monkeypatch):
    """Let pipelines offload from the CPU, as from a GPU: each weight waits on `meta` until its layer computes.

    Diffusers names the device "cpu:0", which accelerate does not take for the one that tensors say they are on.
    """
    offload = accelerate.cpu_offload
    monkeypatch.setattr(
        accelerate, "cpu_offload", lambda model, _, **settings: offload(model, torch.device("cpu"), **settings)
    )

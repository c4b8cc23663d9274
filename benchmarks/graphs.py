"""SDXL's graph and the networks that enlarge its latents, with random weights: time and memory need no training."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lua_lightning.files import write_text
from lua_lightning.generators.tiny_sdxl import MAX_TOKENS, clip_tokenizer
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler

DOWNSCALE, VOCABULARY, MERGES = 8, 49408, 48894  # of SDXL's autoencoder and of CLIP's tokenizer
TIMES = 256  # width of the embedding of size and crop


@dataclass(frozen=True)
class Graph:
    """Sizes of SDXL's graph and of the networks that enlarge its latents.

    Attributes:
        native: Side in pixels that the UNet was made for.
        unet: Width of its three levels.
        head: Width of one attention head.
        layers: Residual blocks of a level.
        transformers: Transformer blocks of each level.
        texts: Width, layers and heads of the two text encoders.
        autoencoder: Width of the autoencoder's four levels.
        adapter: Size of the adapter, and of SwinIR, that goes with it.
        latent_competitor: Settings of the latent super-resolver.
    """

    native: int
    unet: tuple[int, int, int]
    head: int
    texts: tuple[tuple[int, int, int], tuple[int, int, int]]
    autoencoder: tuple[int, int, int, int]
    adapter: str
    latent_competitor: dict[str, Any]
    layers: int = 2
    transformers: tuple[int, int, int] = (1, 2, 10)

    @property
    def ladder(self) -> dict[int, int]:
        """The base side of each side: twice and four times enlarged, as published for 1024, 2048 and 4096 px."""
        return {self.native: self.native // 2, 2 * self.native: self.native, 4 * self.native: self.native}


GRAPHS = {
    "sdxl": Graph(
        1024, (320, 640, 1280), 64, ((768, 12, 12), (1280, 32, 20)), (128, 256, 512, 512), "paper", {"size": "lsr"}
    ),
    # A tenth of the width and a quarter of the side: what two cores can run. Depth and connections are the same.
    "sdxl-small": Graph(
        256, (32, 64, 128), 32, ((64, 2, 2), (128, 2, 2)), (32, 32, 64, 64), "tiny", {"size": "tiny", "head": "liif"}
    ),
}


def random_pipeline(graph: Graph) -> StableDiffusionXLPipeline:
    """Return SDXL's pipeline with random weights, in half precision."""
    tokenizer: Any = clip_tokenizer(MERGES)
    texts = [_text_config(tokenizer, *sizes) for sizes in graph.texts]
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)
    pipe = StableDiffusionXLPipeline(
        vae=_autoencoder(graph),
        text_encoder=CLIPTextModel(texts[0]),
        text_encoder_2=CLIPTextModelWithProjection(texts[1]),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=_unet(graph),
        scheduler=scheduler,  # pyright: ignore
        add_watermarker=False,
    )
    return pipe.to(torch.float16)


def _text_config(tokenizer: Any, width: int, layers: int, heads: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _unet(graph: Graph) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=graph.native // DOWNSCALE,
        block_out_channels=graph.unet,
        layers_per_block=graph.layers,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=graph.transformers,  # pyright: ignore
        attention_head_dim=tuple(width // graph.head for width in graph.unet),  # pyright: ignore
        cross_attention_dim=sum(width for width, _, _ in graph.texts),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIMES,
        projection_class_embeddings_input_dim=graph.texts[1][0] + 6 * TIMES,
    )


def _autoencoder(graph: Graph) -> AutoencoderKL:
    levels = len(graph.autoencoder)
    return AutoencoderKL(
        block_out_channels=graph.autoencoder,  # pyright: ignore
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * levels,  # pyright: ignore
        up_block_types=("UpDecoderBlock2D",) * levels,  # pyright: ignore
        latent_channels=4,
        sample_size=graph.native,
        scaling_factor=0.13025,
        force_upcast=False,
    )


def build(name: str, graph: Graph, folder: Path) -> None:
    """Write generator, adapter and its competitors with random weights into `folder`, unless they are there."""
    done = folder / "graph.json"
    settings = json.dumps(asdict(graph))
    if done.is_file() and done.read_text() == settings:
        return
    print(f"building {name} with random weights in {folder}", file=sys.stderr)
    torch.manual_seed(0)
    random_pipeline(graph).save_pretrained(folder / "generator")
    sizes = dict(graph.latent_competitor)
    networks = {
        "adapter": AdapterConfig.sized(graph.adapter, channels=4, skip="none"),
        "lsr": AdapterConfig.sized(sizes.pop("size"), channels=4, **sizes),
        "swinir": AdapterConfig.sized(graph.adapter, channels=3, codec="rgb", downscale=1),
    }
    for part, config in networks.items():
        LatentUpscaler(config).save_pretrained(folder / part)
    write_text(done, settings)

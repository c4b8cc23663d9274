"""Seconds and memory of every method on the true graph with random weights: neither needs training.

Command: make bench-speed
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from rich.console import Console
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from baselines.contract import World
from baselines.measure import Spread
from baselines.registry import METHODS
from benchmarks.phases import measure_all, print_card, rows_of
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.evaluation.tables import plain_table
from lua_lightning.generators.tiny_sdxl import MAX_TOKENS, clip_tokenizer
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler

DOWNSCALE, VOCABULARY, MERGES = 8, 49408, 48894  # of SDXL's autoencoder and of CLIP's tokenizer
# Seconds per image on SDXL and an H100 with automatic mixed precision (arXiv 2511.10629, table 1).
PUBLISHED = {
    "hidiffusion": {1024: 1.54, 2048: 4.97, 4096: 122.62},
    "demofusion": {1024: 2.04, 2048: 28.99, 4096: 225.77},
    "lsrna-demofusion": {1024: 3.09, 2048: 20.77, 4096: 91.64},
    "direct": {1024: 1.61, 2048: 7.23, 4096: 148.71},
    "swinir": {1024: 2.47, 2048: 6.29, 4096: 7.29},
    "lua": {1024: 1.42, 2048: 3.52, 4096: 6.87},
}


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
        latent_rival: Settings of the latent super-resolver.
    """

    native: int
    unet: tuple[int, int, int]
    head: int
    texts: tuple[tuple[int, int, int], tuple[int, int, int]]
    autoencoder: tuple[int, int, int, int]
    adapter: str
    latent_rival: dict[str, Any]
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
    texts = [
        CLIPTextConfig(
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
        for width, layers, heads in graph.texts
    ]
    pooled, times = graph.texts[1][0], 256
    unet = UNet2DConditionModel(
        sample_size=graph.native // DOWNSCALE,
        block_out_channels=graph.unet,
        layers_per_block=graph.layers,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=graph.transformers,  # pyright: ignore
        attention_head_dim=tuple(width // graph.head for width in graph.unet),  # pyright: ignore
        cross_attention_dim=sum(text.hidden_size for text in texts),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=times,
        projection_class_embeddings_input_dim=pooled + 6 * times,
    )
    levels = len(graph.autoencoder)
    vae = AutoencoderKL(
        block_out_channels=graph.autoencoder,  # pyright: ignore
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * levels,  # pyright: ignore
        up_block_types=("UpDecoderBlock2D",) * levels,  # pyright: ignore
        latent_channels=4,
        sample_size=graph.native,
        scaling_factor=0.13025,
        force_upcast=False,
    )
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)
    pipe = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(texts[0]),
        text_encoder_2=CLIPTextModelWithProjection(texts[1]),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=scheduler,  # pyright: ignore
        add_watermarker=False,
    )
    return pipe.to(torch.float16)


def build(name: str, graph: Graph, folder: Path) -> None:
    """Write generator, adapter and rivals with random weights into `folder`, unless they are there."""
    done = folder / "graph.json"
    settings = json.dumps(asdict(graph))
    if done.is_file() and done.read_text() == settings:
        return
    print(f"building {name} with random weights in {folder}", file=sys.stderr)
    torch.manual_seed(0)
    random_pipeline(graph).save_pretrained(folder / "generator")
    sizes = dict(graph.latent_rival)
    networks = {
        "adapter": AdapterConfig.sized(graph.adapter, channels=4, skip="none"),
        "lsr": AdapterConfig.sized(sizes.pop("size"), channels=4, **sizes),
        "swinir": AdapterConfig.sized(graph.adapter, channels=3, codec="rgb", downscale=1),
    }
    for part, config in networks.items():
        LatentUpscaler(config).save_pretrained(folder / part)
    done.write_text(settings)


def adapter_variants(adapter: LatentUpscaler, device: str) -> Iterator[tuple[str, Callable, torch.dtype]]:
    """Yield the name, callable and input type of the adapter in float32 and bfloat16, eager and compiled."""
    for dtype in (torch.float32, torch.bfloat16):
        model = adapter.to(device, dtype)
        yield f"{str(dtype).removeprefix('torch.')} eager", model, dtype
        yield f"{str(dtype).removeprefix('torch.')} compiled", torch.compile(model), dtype


@torch.inference_mode()
def time_adapter(
    adapter: LatentUpscaler, ladder: dict[int, int], device: str, repeats: int, warmups: int
) -> list[dict[str, Any]]:
    """Return the seconds of the adapter alone, from base latents to enlarged ones, at each size and in each variant."""
    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # pure layouts by shape
    rows = []
    for variant, forward, dtype in adapter_variants(adapter, device):
        for size, base in ladder.items():
            side = base // DOWNSCALE
            latents = torch.randn(1, adapter.config.channels, side, side, device=device, dtype=dtype)
            row: dict[str, Any] = {"size": size, "variant": variant}
            try:
                seconds = [_seconds(forward, latents, size // base) for _ in range(warmups + repeats)][warmups:]
                row["seconds"] = asdict(Spread.of(seconds))
            except Exception as error:  # a compiler that is missing or gives up; the other variants go on
                row["unavailable"] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            rows.append(row)
            print(f"{size} px: adapter {variant} done", file=sys.stderr)
    return rows


def _seconds(forward: Callable, latents: torch.Tensor, scale: int) -> float:
    started = time.perf_counter()
    forward(latents, scale)
    if latents.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def print_adapter(rows: list[dict[str, Any]]) -> None:
    """Print the seconds of the adapter alone, a line for each size."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    table = plain_table("the adapter alone, median seconds", "size", variants)
    for size in dict.fromkeys(row["size"] for row in rows):
        own = {row["variant"]: row for row in rows if row["size"] == size}
        cells = [f"{own[name]['seconds']['median']:.4f}" if "seconds" in own[name] else "-" for name in variants]
        table.add_row(f"{size}", *cells)
    console = Console(stderr=True)
    console.print(table)
    for row in rows:
        if "unavailable" in row:
            console.print(f"{row['variant']} at {row['size']} px: {row['unavailable']}")


def print_published() -> None:
    """Print the paper's seconds as a table of their own."""
    sizes = list(GRAPHS["sdxl"].ladder)
    table = plain_table("published, H100: not measured here", "method", [f"{size} px" for size in sizes])
    for name, seconds in PUBLISHED.items():
        table.add_row(name, *(f"{seconds[size]:.2f}" for size in sizes))
    Console(stderr=True).print(table)


def main(arguments: list[str] | None = None) -> int:
    """Build what is missing, measure, print both cards, and write and print the JSON."""
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graph", default="sdxl" if cuda else "sdxl-small", help=", ".join(GRAPHS))
    parser.add_argument("--sizes", type=int, nargs="+", help="of the graph's ladder; all of it when left out")
    parser.add_argument("--methods", nargs="+", default=[*METHODS])
    parser.add_argument(
        "--steps",
        type=int,
        default=None if cuda else 10,
        help="denoising steps of every diffusion pass; left out, as published on a GPU and 10 on a CPU",
    )
    parser.add_argument("--repeats", type=int, default=20 if cuda else 3)
    parser.add_argument("--warmups", type=int, default=20 if cuda else 1)
    parser.add_argument("--out", type=Path, default=Path("runs/speed"))
    options = parser.parse_args(arguments)
    try:
        if options.graph not in GRAPHS:
            raise unknown_name("graph", options.graph, GRAPHS)
        graph = GRAPHS[options.graph]
        sizes = options.sizes or list(graph.ladder)
        if unknown := set(sizes) - set(graph.ladder):
            raise UserError(f"{options.graph} is measured at {list(graph.ladder)} px, not at {sorted(unknown)}")
        ladder = {size: graph.ladder[size] for size in sizes}
        folder = options.out / options.graph
        build(options.graph, graph, folder)
        world = World(str(folder / "generator"), str(folder / "adapter"), steps=options.steps)
        lsr = [f"weights={folder / 'lsr'}"]
        settings = {"lsr": lsr, "lsrna-demofusion": lsr, "swinir": [f"weights={folder / 'swinir'}"]}
        results = measure_all(world, options.methods, ladder, options.repeats, options.warmups, settings)
        adapter = LatentUpscaler.from_pretrained(folder / "adapter")
        alone = time_adapter(adapter, ladder, world.device, options.repeats, options.warmups)
    except UserError as error:
        print(f"benchmarks.speed: {error}", file=sys.stderr)
        return 2
    print_card(results)
    print_adapter(alone)
    if options.graph == "sdxl":
        print_published()
    content = {
        "graph": options.graph,
        "steps": options.steps or "as published",
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "rows": rows_of(results),
        "adapter": alone,
    }
    path = folder / "speed.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps({**content, "results": str(path)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

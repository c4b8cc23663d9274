"""Model cards: what made the weights in a folder, and what they measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from lua_lightning.config import RunConfig
from lua_lightning.photos import PhotoSet, Split
from lua_lightning.report import markdown_scores

CARD = "README.md"


def photo_facts(photos: PhotoSet) -> str:
    """Return the sentence on the photographs and their licences."""
    licences = sorted({photo.licence for photo in photos.photos})
    train, val, test = (len(photos.split(split)) for split in get_args(Split))
    return (
        f"{train} training, {val} validation and {test} test photographs (recipe `{photos.recipe}`, "
        f"manifest sha256 `{photos.sha256[:16]}`), under {', '.join(licences)}."
    )


def adapter_card(config: RunConfig, results: Mapping[str, Any], photos: PhotoSet, crops: int) -> str:
    """Return the model card of an adapter as Markdown with a Hugging Face header."""
    validation = {key.removeprefix("val/"): value for key, value in results.items() if key.startswith("val/")}
    lines = [
        "---",
        "license: apache-2.0",
        "library_name: lua-lightning",
        "---",
        f"# {config.name}",
        "",
        f"A latent upscaler adapter (arXiv 2511.10629) for the normalised latents of `{config.cache.codec}`, scales "
        f"{', '.join(map(str, config.adapter.scales))}, size `{config.adapter.size}`.",
        "",
        f"- **Data**: {photo_facts(photos)}",
        f"- **Training**: {config.stage}, {results['steps']} steps of {config.train.batch_size} pairs, "
        f"seed {config.seed}, "
        f"{results['hours']:.1f} hours of training on {results['device']}; terms "
        + ", ".join(f"{weight} {name}" for name, weight in config.loss.items() if weight)
        + ".",
        "- **Command**: `lua-lightning train config.yaml`, with the `config.yaml` of this folder.",
        "",
        f"Validation photographs, {crops} crops of {config.cache.crop_px} px, PSNR in dB on 8-bit RGB; recovery is the",
        "share of the way from latent bicubic to the codec's own round trip:",
        "",
        markdown_scores(validation, config.name),
        "",
    ]
    return "\n".join(lines)


def codec_card(name: str, results: Mapping[str, Any], photos: PhotoSet) -> str:
    """Return the model card of an embedded autoencoder as Markdown with a Hugging Face header."""
    config = results["config"]
    sides = "in encoder and decoder" if config["encoder_blocks"] else "in the decoder"
    lines = [
        "---",
        "license: apache-2.0",
        "library_name: lua-lightning",
        "---",
        f"# {name}",
        "",
        f"A small autoencoder for experiments: {config['latent_channels']} latent channels at 1/8 size, a principal "
        f"component code of 8x8 patches with residual networks {sides}. Made to run on a laptop, not to compete.",
        "",
        f"- **Data**: {photo_facts(photos)}",
        f"- **Training**: {config['steps']} steps of {config['batch_size']} crops of {config['crop_px']} px, seed "
        f"{config['seed']}, {results['minutes']:.0f} minutes on {results['threads']} CPU thread(s).",
        "- **Command**: `make zoo-codecs`",
        f"- **Round trip** of {results['test_crops']} detailed crops of test photographs: "
        f"{results['psnr']:.2f} dB PSNR; the linear code alone {results['psnr_linear']:.2f} dB.",
        "",
    ]
    return "\n".join(lines)


def write_card(folder: Path, text: str) -> None:
    """Write the card beside the weights."""
    (folder / CARD).write_text(text)

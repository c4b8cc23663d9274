"""Model cards: what made the weights in a folder, and what they measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lua_lightning.config import RunConfig
from lua_lightning.photos import PhotoSet
from lua_lightning.report import METHODS

CARD = "README.md"


def photo_facts(photos: PhotoSet) -> str:
    """Return the sentence on the photographs and their licences."""
    licences = sorted({photo.licence for photo in photos.photos})
    train, held_out = len(photos.split("train")), len(photos.split("val"))
    return (
        f"{train} training and {held_out} held-out photographs (recipe `{photos.recipe}`, "
        f"manifest sha256 `{photos.sha256[:16]}`), under {', '.join(licences)}."
    )


def adapter_card(config: RunConfig, results: Mapping[str, Any], photos: PhotoSet, crops: int) -> str:
    """Return the model card of an adapter as Markdown with a Hugging Face header."""
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
        f"Held-out photographs, {crops} crops of {config.cache.crop_px} px, PSNR in dB on 8-bit RGB:",
        "",
        "| method | " + " | ".join(f"x{scale} PSNR | x{scale} SSIM" for scale in config.adapter.scales) + " |",
        "|---|" + "---|---|" * len(config.adapter.scales),
    ]
    for method, label in METHODS.items():
        suffix = f"_{method}" if method else ""
        cells = [
            f"{results[f'val/x{scale}/psnr{suffix}']:.2f} | {results[f'val/x{scale}/ssim{suffix}']:.3f}"
            for scale in config.adapter.scales
        ]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    recoveries = ", ".join(f"{results[f'val/x{scale}/recovery']:.2f} at x{scale}" for scale in config.adapter.scales)
    return "\n".join([*lines, "", f"Recovery of the codec's ceiling: {recoveries}.", ""])


def codec_card(name: str, results: Mapping[str, Any], photos: PhotoSet) -> str:
    """Return the model card of an embedded autoencoder as Markdown with a Hugging Face header."""
    config = results["config"]
    lines = [
        "---",
        "license: apache-2.0",
        "library_name: lua-lightning",
        "---",
        f"# {name}",
        "",
        f"A small autoencoder for experiments: {config['latent_channels']} latent channels at 1/8 size, a principal "
        "component code of 8x8 patches with residual networks on both sides. Made to run on a laptop, not to compete.",
        "",
        f"- **Data**: {photo_facts(photos)}",
        f"- **Training**: {config['steps']} steps of {config['batch_size']} crops of {config['crop_px']} px, seed "
        f"{config['seed']}, {results['minutes']:.0f} minutes on {results['threads']} CPU thread(s).",
        "- **Command**: `make zoo-codecs`",
        f"- **Round trip** of {results['held_out_crops']} detailed crops of held-out photographs: "
        f"{results['psnr']:.2f} dB PSNR; the linear code alone {results['psnr_linear']:.2f} dB.",
        "",
    ]
    return "\n".join(lines)


def write_card(folder: Path, text: str) -> None:
    """Write the card beside the weights."""
    (folder / CARD).write_text(text)

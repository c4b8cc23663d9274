"""Model cards: what made the weights in a folder, and what they measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from lua_lightning.config import RunConfig
from lua_lightning.documents import read_json
from lua_lightning.evaluation.intervals import CropScores, intervals, summarise
from lua_lightning.evaluation.registry import METRICS, label_of, metric_of
from lua_lightning.evaluation.rows import LATENT_BICUBIC, LUA
from lua_lightning.evaluation.tables import markdown_scores, reported
from lua_lightning.files import write_text
from lua_lightning.markdown import wrap
from lua_lightning.models.codec import PIXELS
from lua_lightning.models.pretrained import ZOO
from lua_lightning.pairs.photos import PhotoSet, Split

CARD, HISTORY = "README.md", "history.json"


def photo_facts(photos: PhotoSet) -> str:
    """Return the sentence on the photographs and their licences."""
    licences = sorted({photo.licence for photo in photos.photos})
    train, val, test = (len(photos.split(split)) for split in get_args(Split))
    return (
        f"{train} training, {val} validation and {test} test photographs (recipe `{photos.recipe}`, "
        f"manifest sha256 `{photos.sha256[:16]}`), under {', '.join(licences)}."
    )


def training_record(config: RunConfig, results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card says about one stage of training."""
    return {
        "stage": config.stage,
        "codec": config.cache.codec,
        "steps": results["steps"],
        "batch_size": config.train.batch_size * config.train.accumulate,
        "seed": config.seed,
        "hours": results["hours"],
        "device": results["device"],
        "loss": {name: weight for name, weight in config.loss.items() if weight},
        "learning_rate": config.optim.learning_rate,
    }


def read_history(adapter: str | Path | None) -> list[dict[str, Any]]:
    """Return the stages that made the weights in an adapter folder, the first one first; none when it does not say."""
    for folder in (ZOO / str(adapter), Path(adapter or "")):
        if adapter and (folder / HISTORY).is_file():
            return read_json(folder / HISTORY, list)
    return []


def method_of(config: RunConfig) -> str:
    """Return the name of the method that a run trains the network of."""
    if config.cache.codec == PIXELS:
        return "swinir"
    return "lsr" if config.adapter.head == "liif" else LUA


def kind_of(config: RunConfig) -> str:
    """Return what a network is and what it enlarges."""
    if config.cache.codec == PIXELS:
        return (
            "Super-resolution in pixels with SwinIR's trunk (arXiv 2108.10257) and the adapter's skip and heads, for "
            f"images that `{config.cache.through}` decodes"
        )
    latents = f"the normalised latents of `{config.cache.codec}`"
    if config.adapter.head == "liif":
        return f"A latent super-resolver with a LIIF head, as in LSRNA (arXiv 2503.18446), for {latents}"
    return f"A latent upscaler adapter (arXiv 2511.10629) for {latents}"


def adapter_card(
    config: RunConfig,
    history: Sequence[Mapping[str, Any]],
    crops: Sequence[CropScores],
    photos: PhotoSet,
    command: str,
) -> str:
    """Return the model card of an adapter as Markdown with a Hugging Face header.

    Args:
        config: Of the last stage.
        history: What `training_record` returned for each stage.
        crops: The closing validation.
        photos: What it was trained on.
        command: What trains it again.
    """
    estimates = intervals(crops)
    lines = [
        "---",
        "license: apache-2.0",
        "library_name: lua-lightning",
        "---",
        f"# {config.name}",
        "",
        f"{kind_of(config)}, scales {', '.join(map(str, config.adapter.scales))}, size `{config.adapter.size}`.",
        "",
        f"- **Data**: {photo_facts(photos)}",
        *map(_training_line, history),
        f"- **Command**: `{command}`; the `config.yaml` of this folder has the settings of the last stage.",
        "",
        f"Measured on {len(crops)} crops of {config.cache.crop_px} px of validation photographs, in 8-bit RGB.",
        f"Recovery is the share of the way from `{LATENT_BICUBIC}` to the autoencoder's own round trip:",
        "",
        markdown_scores(summarise(crops), method_of(config)),
        "",
        "The adapter's own scores with 95 % intervals over photographs:",
        "",
        *(
            f"- {label_of(f'{scale}/{key}')}: {metric_of(key).estimate(estimates[f'{scale}/{key}'])}"
            for scale in sorted({name.partition("/")[0] for name in estimates})
            for key in reported()
            if f"{scale}/{key}" in estimates
        ),
        "",
    ]
    return "\n".join(lines)


def _training_line(stage: Mapping[str, Any]) -> str:
    """Return what a card says about one stage, from what `training_record` returned for it."""
    return (
        f"- **Training**: {stage['stage']} on `{stage['codec']}`, {stage['steps']} steps of {stage['batch_size']} "
        f"pairs at learning rate {stage['learning_rate']:g}, seed {stage['seed']}, {stage['hours']:.1f} hours on "
        f"{stage['device']}; terms {', '.join(f'{weight:g} {name}' for name, weight in stage['loss'].items())}."
    )


def codec_card(name: str, results: Mapping[str, Any], photos: PhotoSet) -> str:
    """Return the model card of an embedded autoencoder as Markdown with a Hugging Face header."""
    config = results["config"]
    psnr = METRICS["psnr"]
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
        f"{psnr.text(results['psnr'])} {psnr.unit} {psnr.label}; "
        f"the linear code alone {psnr.text(results['psnr_linear'])} {psnr.unit}.",
        "",
    ]
    return "\n".join(lines)


def write_card(folder: Path, text: str) -> None:
    """Write the card beside the weights."""
    write_text(folder / CARD, wrap(text))


def generator_card(name: str, results: Mapping[str, Any], photos: PhotoSet) -> str:
    """Return the model card of an embedded generator as Markdown with a Hugging Face header."""
    config = results["config"]
    lines = [
        "---",
        "license: apache-2.0",
        "library_name: diffusers",
        "pipeline_tag: text-to-image",
        "---",
        f"# {name}",
        "",
        f"A `StableDiffusionXLPipeline` with every part made small ({results['parameters'] / 1e6:.1f} M weights), on "
        f"the latents of `{config['codec']}`, for 256 and 512 px. It has seen {len(photos.split('train'))} photographs "
        "with one caption each and mostly repeats them: it is here so that the whole chain of generating, enlarging "
        "and measuring runs on a laptop, not to make pictures.",
        "",
        f"- **Data**: {photo_facts(photos)}",
        f"- **Training**: {config['steps']} steps of {config['batch_size']} crops of 256 px (a quarter as many of "
        f"512 px in {config['large_share']:.0%} of the steps), velocity prediction, zero terminal SNR, learning rate "
        f"{config['learning_rate']:g}, averaged weights, seed {config['seed']}, {results['minutes']:.0f} minutes on "
        f"{results['threads']} CPU thread(s); last loss {results['loss']:.4f}.",
        "- **Command**: `make zoo-generator`",
        '- **Autoencoder**: none in this folder; pass `vae=CodecAutoencoder("tiny-d16")` to `from_pretrained`.',
        "",
    ]
    return "\n".join(lines)

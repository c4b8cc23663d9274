"""`lua-lightning cache`: encode an experiment's latent pairs before training, all of them or one part of several."""

import argparse
import json
import re

from lua_lightning.commands.choices import SETTINGS_HINT, experiments
from lua_lightning.commands.command import Command, add_settings, listing
from lua_lightning.errors import UserError
from lua_lightning.recipes import find_recipe
from lua_lightning.signals import SAME_COMMAND


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning cache`."""
    parser.add_argument("experiment", type=find_recipe, help="YAML file or recipe, such as stage1")
    add_settings(parser, "settings that override the file's, such as cache.codec=tiny-d4")
    parser.add_argument(
        "--part",
        metavar="I/N",
        help="encode only part I of N, counted from 0; a call without it closes the cache (default: everything)",
    )


def details() -> str:
    """Return the files that can be chosen."""
    return listing("choices", experiments()) + f"\n\n{SETTINGS_HINT}"


def run(options: argparse.Namespace) -> None:
    """Build the cache or a part of it, and print one JSON line.

    Raises:
        UserError: A setting is wrong, the photographs are missing, or `--part` is not of the form I/N.
    """
    from lua_lightning.config import RunConfig, load_config
    from lua_lightning.environment import best_device
    from lua_lightning.models.codec import LatentCodec
    from lua_lightning.pairs.cache import build_cache, build_part
    from lua_lightning.pairs.photos import PhotoSet
    from lua_lightning.training.checks import check_run

    part = _part(options.part)
    config = load_config(RunConfig, options.experiment, options.overrides)
    check_run(config)
    photos = PhotoSet.load(config.data.photos)
    codec = LatentCodec.from_pretrained(config.cache.codec).to(best_device())
    if part is None:
        cache = build_cache(config.cache, photos, codec)
        pairs = {split: sum(shard["pairs"] for shard in cache.shards(split)) for split in ("train", "val", "test")}
        print(json.dumps({"cache": str(cache.folder), "pairs": pairs}))
    else:
        folder = build_part(config.cache, photos, codec, *part)
        print(json.dumps({"cache": str(folder), "part": options.part}))


def _part(text: str | None) -> tuple[int, int] | None:
    """Return I and N of `I/N`.

    Raises:
        UserError: The text is not of that form.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not int(found[1]) < int(found[2]):
        raise UserError(f"--part {text} must be I/N with I from 0 to N - 1, such as 0/4")
    return int(found[1]), int(found[2])


COMMAND = Command(
    "cache",
    "Encode an experiment's latent pairs before training.",
    "lua-lightning cache experiments/stage1.yaml --part 0/2",
    add_arguments,
    run,
    details,
    SAME_COMMAND,
)

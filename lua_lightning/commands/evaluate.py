"""`lua-lightning evaluate`: the closing table of a training run, for any adapter."""

import argparse
import json

from lua_lightning.commands.choices import SETTINGS_HINT, SPLITS, adapters, codecs, experiments
from lua_lightning.commands.command import Command, add_settings, listing
from lua_lightning.recipes import find_recipe
from lua_lightning.zoo import DEFAULT_ADAPTER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning evaluate`."""
    parser.add_argument("adapter", nargs="?", default=DEFAULT_ADAPTER, help="name, folder, file or hub id")
    parser.add_argument(
        "experiment",
        nargs="?",
        type=find_recipe,
        default="stage1",
        help="YAML file or recipe whose photographs and codec are used",
    )
    add_settings(parser, "settings that override the file's, such as data.photos=data/mine")
    parser.add_argument("--split", choices=SPLITS, default="test", help="photographs to measure on")


def details() -> str:
    """Return what can be chosen."""
    return listing("choices", {**adapters(), **experiments(), **codecs()}) + f"\n\n{SETTINGS_HINT}"


def run(options: argparse.Namespace) -> None:
    """Measure the adapter on one split of an experiment's crops; print a table and one JSON line."""
    from lua_lightning.config import RunConfig, load_config
    from lua_lightning.evaluation.held_out import measure
    from lua_lightning.evaluation.intervals import intervals, summarise
    from lua_lightning.evaluation.tables import print_scores

    split = options.split
    crops = measure(options.adapter, load_config(RunConfig, options.experiment, options.overrides), split)
    print_scores(summarise(crops), f"{options.adapter} on {len(crops)} {split} crops")
    tracked = {f"{split}/{name}": estimate.entry() for name, estimate in intervals(crops).items()}
    print(json.dumps({"adapter": options.adapter, "crops": len(crops), **tracked}))


COMMAND = Command(
    "evaluate",
    "Measure an adapter on held-out photographs.",
    "lua-lightning evaluate lua-tiny-d64 experiments/stage1.yaml --split val",
    add_arguments,
    run,
    details,
)

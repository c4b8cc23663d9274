"""`lua-lightning train-codec`: build an embedded autoencoder."""

import argparse
import json

from lua_lightning.commands.command import Command, add_settings
from lua_lightning.recipes import find_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning train-codec`."""
    parser.add_argument("experiment", type=find_recipe, help="YAML file or recipe, such as zoo/codec-d16")
    add_settings(parser, "settings that override the file's, such as steps=500")


def details() -> str:
    """Return every setting with its default."""
    from lua_lightning.settings import settings_text
    from lua_lightning.training.zoo_config import CodecTrainingConfig

    return settings_text("settings, with their defaults", CodecTrainingConfig)


def run(options: argparse.Namespace) -> None:
    """Train, and print the results as one JSON line."""
    from lua_lightning.config import load_config
    from lua_lightning.training.zoo_codec import train_codec
    from lua_lightning.training.zoo_config import CodecTrainingConfig

    print(json.dumps(train_codec(load_config(CodecTrainingConfig, options.experiment, options.overrides))))


COMMAND = Command(
    "train-codec",
    "Train an embedded autoencoder, such as tiny-d16.",
    "lua-lightning train-codec experiments/zoo/codec-d16.yaml steps=500",
    add_arguments,
    run,
    details,
)

"""`lua-lightning train-generator`: build an embedded generator."""

import argparse
import json

from lua_lightning.commands.command import Command, add_settings
from lua_lightning.recipes import find_recipe
from lua_lightning.signals import SAME_COMMAND


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning train-generator`."""
    parser.add_argument("experiment", type=find_recipe, help="YAML file or recipe, such as zoo/tiny-sdxl")
    add_settings(parser, "settings that override the file's, such as steps=500")


def details() -> str:
    """Return every setting with its default."""
    from lua_lightning.settings import settings_text
    from lua_lightning.training.zoo_config import GeneratorTrainingConfig

    return settings_text("settings, with their defaults", GeneratorTrainingConfig)


def run(options: argparse.Namespace) -> None:
    """Train, and print the results as one JSON line."""
    from lua_lightning.config import load_config
    from lua_lightning.training.zoo_config import GeneratorTrainingConfig
    from lua_lightning.training.zoo_generator import train_generator

    print(json.dumps(train_generator(load_config(GeneratorTrainingConfig, options.experiment, options.overrides))))


COMMAND = Command(
    "train-generator",
    "Train the embedded generator tiny-sdxl.",
    "lua-lightning train-generator experiments/zoo/tiny-sdxl.yaml steps=500",
    add_arguments,
    run,
    details,
    SAME_COMMAND,
)

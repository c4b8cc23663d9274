"""`lua-lightning train`: one run from an experiment file to an adapter folder."""

import argparse
import json
from pathlib import Path

from lua_lightning.commands.choices import adapters, codecs, experiments
from lua_lightning.commands.command import Command, add_settings, listing
from lua_lightning.recipes import find_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning train`."""
    parser.add_argument("experiment", type=find_recipe, help="YAML file or recipe, such as stage1")
    add_settings(parser, "settings that override the file's, such as train.steps=500")
    parser.add_argument(
        "--resume", nargs="?", const="auto", metavar="RUN", help="resume RUN, or the newest unfinished run of that name"
    )
    parser.add_argument(
        "--folder", type=Path, help="the run's folder; an unfinished run found there is resumed (default: by name)"
    )


def details() -> str:
    """Return the experiment files, the models they can name, and every setting by group."""
    from lua_lightning.config import RunConfig
    from lua_lightning.settings import settings_text

    choices = listing("choices", {**experiments(), **adapters(), **codecs()})
    return f"{choices}\n\n{settings_text('settings, with their defaults', RunConfig)}"


def run(options: argparse.Namespace) -> None:
    """Train, print the closing table on stderr and one JSON line on stdout."""
    from lua_lightning.config import RunConfig, load_config
    from lua_lightning.training.baselines import record_baselines
    from lua_lightning.training.runs import CONFIG, Finished, is_rank_zero, named_folder, results_of
    from lua_lightning.training.train import print_card, train

    config = load_config(RunConfig, options.experiment, options.overrides)
    folder = options.folder and named_folder(options.folder)
    resume = str(folder) if folder and (folder / CONFIG).is_file() else options.resume
    try:
        results = train(config, resume, folder, overrides=options.overrides)
    except Finished:
        if folder is None:
            raise
        results = results_of(folder)  # the same command as one that was stopped behind its last line of work
    if is_rank_zero():
        record_baselines(config, results)
        print_card(results)
        print(json.dumps(results))


COMMAND = Command(
    "train",
    "Train an adapter from an experiment file.",
    "lua-lightning train experiments/stage1.yaml train.steps=500",
    add_arguments,
    run,
    details,
)

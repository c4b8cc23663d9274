"""`lua-lightning zoo`: put the adapter that a finished run, or chain of stages, has trained into the zoo."""

import argparse
from pathlib import Path

from lua_lightning.commands.command import Command
from lua_lightning.errors import UserError
from lua_lightning.zoo import ZOO

CRISP = "stage4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning zoo`."""
    parser.add_argument("run", type=Path, help="folder of a finished run or chain")
    parser.add_argument("--zoo", type=Path, default=ZOO, help="folder that holds the zoo")


def run(options: argparse.Namespace) -> None:
    """Write the adapter of the run, or of the chain's last stage, into the zoo, in half precision, under its name.

    A last stage IV is the crisp end of the adapter's sharpness, and the stage before it the faithful one.

    Raises:
        UserError: The run is not finished.
    """
    import torch

    from lua_lightning.config import RunConfig, load_config
    from lua_lightning.documents import read_json
    from lua_lightning.models.joining import join
    from lua_lightning.training.chain import STAGES
    from lua_lightning.training.runs import CONFIG, RESULTS

    folder: Path = options.run
    if not (folder / RESULTS).is_file():
        raise UserError(f"{folder} is not the folder of a finished run or chain: train it first, by `make zoo`")
    name, chain = load_config(RunConfig, folder / CONFIG).name, folder / STAGES
    folders = [Path(stage) for stage in read_json(chain).values()] if chain.is_file() else [folder]
    stages = [load_config(RunConfig, folder / CONFIG).stage for folder in folders]
    crisp = folders.pop() / "adapter" if stages[-1] == CRISP and len(stages) > 1 else None
    join(folders[-1] / "adapter", crisp, options.zoo / name, torch.float16)
    print(f"{options.zoo / name}: {', '.join(stages)}")


COMMAND = Command(
    "zoo",
    "Put the adapter that a finished run or chain has trained into the zoo.",
    "lua-lightning zoo runs/zoo/lua-tiny-d64",
    add_arguments,
    run,
)

"""The `lua-lightning` command: a table of commands, each in a file of its own."""

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

import lua_lightning
from lua_lightning.commands import (
    cache,
    chain,
    compare,
    crisp,
    demo,
    doctor,
    evaluate,
    export,
    search,
    sweep,
    sync,
    train,
    train_codec,
    train_generator,
    upscale,
    zoo,
)
from lua_lightning.commands.command import Command, CommandLine
from lua_lightning.errors import UserError, first_line

COMMANDS = (
    upscale.COMMAND,
    train.COMMAND,
    chain.COMMAND,
    sweep.COMMAND,
    search.COMMAND,
    cache.COMMAND,
    evaluate.COMMAND,
    compare.COMMAND,
    crisp.COMMAND,
    export.COMMAND,
    train_codec.COMMAND,
    train_generator.COMMAND,
    zoo.COMMAND,
    sync.COMMAND,
    demo.COMMAND,
    doctor.COMMAND,
)
GROUP = "lua_lightning.commands"  # entry points through which other packages add commands: `generate` of baselines/


def registered() -> list[Command]:
    """Return the commands that installed packages add; one that cannot be loaded says so when it is run."""
    return [_load(entry) for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)]


def _load(entry: EntryPoint) -> Command:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        reason = f"the package that adds {entry.name} cannot be loaded ({first_line(error)}): install it again"

    def refuse(options: object) -> int:
        raise UserError(reason)

    return Command(entry.name, f"Not available: {reason}.", "", lambda parser: None, refuse)


def command_line() -> CommandLine:
    """Return the whole command line."""
    return CommandLine(
        "lua-lightning",
        (lua_lightning.__doc__ or "").splitlines()[0],
        "lua-lightning upscale photo.jpg --output large.png",
        (*COMMANDS, *registered()),
        lua_lightning.__version__,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; a user's mistake is one sentence on stderr and status 2."""
    try:
        return command_line().main(arguments)
    finally:
        _leave_process_group()


def _leave_process_group() -> None:
    """End the processes' group, if there is one: gloo aborts a process that exits inside it."""
    dist = sys.modules.get("torch.distributed")  # not imported where no command needed it
    if dist is not None and dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())

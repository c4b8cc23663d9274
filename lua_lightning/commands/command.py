"""A command is a sentence, an example, options and a function; a command line is a table of commands.

Modules that define commands stay light: a command's function imports what it needs when it runs, so that help,
mistakes and shell completion are answered at once.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lua_lightning.commands.guard import guarded
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.recipes import find_recipe

SHELLS = ("bash", "zsh", "tcsh")


def nothing() -> str:
    """Return no details: the default of a command that has none."""
    return ""


@dataclass(frozen=True)
class Command:
    """One command: `lua-lightning train`, or a program such as `python -m benchmarks`."""

    name: str
    """What the user types; a program of one command has a name too, which is not typed."""
    sentence: str
    """What the command does, in one imperative sentence; help opens with it, and the table of commands shows it."""
    example: str
    """A command line that works as it stands."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    """Adds the arguments to a parser; their help texts need not repeat defaults, which are added."""
    run: Callable[[argparse.Namespace], int | None]
    """Carries the command out and returns the exit status; None is success. A user's mistake is a `UserError`."""
    details: Callable[[], str] = nothing
    """Returns the text below the options, such as what can be chosen; called only when help is printed."""
    goes_on: str = ""
    """How to go on after Ctrl-C or SIGTERM, unless what was stopped says so itself; empty where nothing goes on."""


class Parser(argparse.ArgumentParser):
    """A parser whose help opens with a sentence and an example, and whose errors are `UserError`s.

    Options cannot be abbreviated, so that a mistyped one is never taken for another.

    Args:
        sentence: What the command does.
        example: A command line that works as it stands.
        details: Returns the text below the options.
        settings: Further arguments of `argparse.ArgumentParser`.
    """

    def __init__(self, sentence: str = "", example: str = "", details: Callable[[], str] = nothing, **settings: Any):
        super().__init__(**{"allow_abbrev": False, "formatter_class": _DefaultsFormatter, **settings})
        self.sentence, self.example, self.details = sentence, example, details

    def format_help(self) -> str:
        """Return the help: sentence, example, usage, arguments with defaults, details."""
        details = self.details()
        return f"{self.sentence}\n\nExample:\n  {self.example}\n\n{super().format_help()}" + (
            f"\n{details}\n" if details else ""
        )

    def error(self, message: str) -> Any:
        """Refuse the command line in one sentence.

        Raises:
            UserError: Always.
        """
        raise UserError(f"{message} (`{self.prog} --help` explains the arguments)")

    def parse_strictly(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the parsed arguments; `key=value` settings may stand after options too, which argparse refuses.

        Raises:
            UserError: An argument is unknown, missing or wrong; the near match of a mistyped option is named.
        """
        parsed, rest = self.parse_known_args(arguments)
        for item in rest:
            if item.startswith("-"):
                raise unknown_name("option", item.partition("=")[0], self._option_string_actions)
        if rest and not hasattr(parsed, "overrides"):
            self.error(f"unexpected argument {rest[0]!r}")
        if rest:
            parsed.overrides = [*parsed.overrides, *rest]
        return parsed


class _DefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default of each option that has one and does not speak of it itself."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, argparse.SUPPRESS) or action.default == []:
            return action.help
        return action.help if "default" in (action.help or "") else super()._get_help_string(action)


def add_settings(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the `key=value` settings of a command; they arrive as the list `overrides`."""
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=text)


def listing(title: str, choices: Mapping[str, Sequence[str]]) -> str:
    """Return a section of help that lists names by kind, one kind a paragraph."""
    import textwrap

    lines = [f"{title}:"]
    for kind, names in choices.items():
        lines += textwrap.wrap(f"{kind}: {', '.join(names)}", 100, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(lines)


def run_command(command: Command, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command as a program of its own and return the exit status.

    Args:
        command: The command.
        program: What the user typed before the arguments, such as `python -m benchmarks`.
        arguments: The command line; None takes the process's own.

    Returns:
        The command's status, or that of `guarded` where it did not come to its end.
    """
    parser = Parser(command.sentence, command.example, command.details, prog=program)
    command.add_arguments(parser)
    return guarded(
        program,
        lambda: command.run(parser.parse_strictly(sys.argv[1:] if arguments is None else arguments)),
        command.goes_on,
    )


@dataclass(frozen=True)
class CommandLine:
    """A program of several commands, such as `lua-lightning` or `python -m data`."""

    program: str
    """What the user types before the command's name."""
    sentence: str
    """What the program is for."""
    example: str
    """A command line that works as it stands."""
    commands: Sequence[Command]
    """The table."""
    version: str | None = None
    """The version of an installed program, which then also prints shell completion; None for `python -m`."""

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run one command and return the exit status; without a command, print the help and return 0.

        Args:
            arguments: The command line; None takes the process's own.
        """
        arguments = sys.argv[1:] if arguments is None else arguments
        table = {command.name: command for command in self.commands}
        if arguments and arguments[0] in table:
            name, *rest = arguments
            return run_command(table[name], f"{self.program} {name}", rest)
        return guarded(self.program, lambda: self._without_command(arguments, table))

    def _without_command(self, arguments: Sequence[str], table: Mapping[str, Command]) -> None:
        if not arguments:
            self.parser().print_help()
        elif arguments[0].startswith("-"):
            self.parser().parse_strictly(arguments)
        else:
            raise unknown_name("command", arguments[0], table)

    def parser(self) -> Parser:
        """Return the parser of the whole program, which prints its help and its shell completion."""
        root = Parser(self.sentence, self.example, prog=self.program)
        if self.version is not None:
            root.add_argument("--version", action="version", version=f"{self.program} {self.version}")
            root.add_argument(
                "--print-completion",
                choices=SHELLS,
                action=_PrintCompletion,
                help='print a completion script: eval "$(%(prog)s --print-completion bash)" switches it on',
            )
        table = root.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
        for command in self.commands:
            parser = table.add_parser(
                command.name,
                help=command.sentence,
                sentence=command.sentence,
                example=command.example,
                details=command.details,
            )
            command.add_arguments(parser)
        return root


class _PrintCompletion(argparse.Action):
    """Prints the completion script of a shell and ends the program."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        import shtab

        for action in parser._actions:
            for command in action.choices.values() if isinstance(action.choices, dict) else ():
                for argument in command._actions:
                    if argument.type in (Path, find_recipe):
                        argument.complete = shtab.FILE
        print(shtab.complete(parser, values))
        parser.exit()

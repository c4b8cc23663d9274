"""What values a setting may have: declared beside its field, `steps: Annotated[int, Within(1, 1e9)]`, and checked here.

Types are bounds too: a whole number is no truth value, and a number is finite. So no wrong value reaches PyTorch,
NumPy or Lightning.
"""

import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from lua_lightning.errors import UserError, unknown_name

T = TypeVar("T")
LONGEST_TEXT = 4096  # characters; of a path on Linux
LONGEST_NAME = 100
MOST_ITEMS = 10_000
SEED = 2**32 - 1  # the largest that NumPy and Lightning take


class Bound(Protocol):
    """A rule for the values of a field."""

    def problem(self, value: Any) -> str | None:
        """Return what the value must be, as the end of `steps=0 must ...`; None where it is so."""

    def __str__(self) -> str:
        """Return the rule in a few words, as the list of settings shows it."""
        ...


@dataclass(frozen=True)
class Within:
    """A number from `low` to `high`; an end can be left out."""

    low: float
    high: float
    above: bool = False
    """Whether `low` itself is too low."""
    below: bool = False
    """Whether `high` itself is too high."""

    def problem(self, value: float) -> str | None:
        """Return the range where the number lies outside it, or is no number."""
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        if low and high:
            return None
        open_end = self.above or self.below
        return f"be {self}" if open_end else f"lie between {_number(self.low)} and {_number(self.high)}"

    def __str__(self) -> str:
        if self.above or self.below:
            ends = f"above {_number(self.low)}" if self.above else f"at least {_number(self.low)}"
            return f"{ends} and {'below' if self.below else 'at most'} {_number(self.high)}"
        return f"{_number(self.low)} to {_number(self.high)}"


@dataclass(frozen=True)
class Multiple:
    """A multiple of a whole number."""

    of: int

    def problem(self, value: int) -> str | None:
        """Return the rule where the number breaks it."""
        return f"be {self}" if value % self.of else None

    def __str__(self) -> str:
        return f"a multiple of {self.of}"


@dataclass(frozen=True)
class Odd:
    """An odd number."""

    def problem(self, value: int) -> str | None:
        """Return the rule where the number breaks it."""
        return None if value % 2 else "be odd"

    def __str__(self) -> str:
        return "odd"


class OneOf:
    """One of a few values."""

    def __init__(self, *names: str | int) -> None:
        self.names = names

    def problem(self, value: Any) -> str | None:
        """Return the known values where this is none of them, with the near match."""
        if value in self.names:
            return None
        near, _, known = (
            str(unknown_name("value", str(value), map(str, self.names))).partition(": ")[2].rpartition("known: ")
        )
        return f"be one of {known}" + (f" ({near.strip()})" if near else "")

    def __str__(self) -> str:
        return ""  # the field's explanation tells what each of them means


@dataclass(frozen=True)
class Text:
    """A line of text without control characters, such as a path, a name of a model, or a hub id."""

    empty: bool = False
    """Whether it may be empty."""

    def problem(self, value: str) -> str | None:
        """Return the rule where the text breaks it."""
        if len(value) > LONGEST_TEXT:
            return f"have at most {LONGEST_TEXT} characters"
        if any(ord(character) < 32 or ord(character) == 127 for character in value):
            return "be one line without control characters"
        return None if value.strip() or (self.empty and not value) else "not be empty"

    def __str__(self) -> str:
        return ""


@dataclass(frozen=True)
class Name:
    """A name that a folder can have: it leads to no other place."""

    def problem(self, value: str) -> str | None:
        """Return the rule where the name breaks it."""
        fits = re.fullmatch(r"[\w][\w .,+=@-]*", value) and value == value.strip() and len(value) <= LONGEST_NAME
        if fits and not value.endswith("."):
            return None
        return f"be a plain name of letters, digits, spaces and -_.,+=@, {LONGEST_NAME} characters at most, no path"

    def __str__(self) -> str:
        return "a plain name"


@dataclass(frozen=True)
class File(Text):
    """A file that is there."""

    def problem(self, value: str) -> str | None:
        """Return the rule where the file is missing."""
        if wrong := super().problem(value):
            return wrong
        return None if Path(value).expanduser().is_file() else "be a file that is there"

    def __str__(self) -> str:
        return "an existing file"


@dataclass(frozen=True)
class Matching:
    """A text of a form that words explain."""

    pattern: str
    words: str

    def problem(self, value: str) -> str | None:
        """Return the form where the text has another."""
        return None if re.fullmatch(self.pattern, value) else f"be {self.words}"

    def __str__(self) -> str:
        return self.words


class Each:
    """A list or a mapping whose items have bounds of their own; of a mapping, the keys are plain text."""

    def __init__(self, *bounds: Bound, least: int = 0, most: int = MOST_ITEMS, distinct: bool = False) -> None:
        self.bounds, self.least, self.most, self.distinct = bounds, least, most, distinct

    def problem(self, value: Sequence[Any] | Mapping[str, Any]) -> str | None:
        """Return what the first wrong item must be."""
        if not self.least <= len(value) <= self.most:
            return f"name at least {self.least}" if len(value) < self.least else f"have at most {self.most:,} items"
        if self.distinct and len(set(value)) < len(value):
            return "name each of them once"
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            wrong = Text().problem(key) if isinstance(key, str) else None
            for bound in self.bounds:
                wrong = wrong or bound.problem(item)
            if wrong:
                return f"{wrong} ({key}: {shown(item)})" if isinstance(value, Mapping) else f"each {wrong}"
        return None

    def __str__(self) -> str:
        rules = "; ".join(filter(None, map(str, self.bounds)))
        return f"each {rules}" if rules else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:g}"


def shown(value: Any) -> str:
    """Return a value as a sentence can hold it: on one line, and short."""
    text = str(list(value) if isinstance(value, tuple) else value)
    text = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return text if len(text) <= 80 else f"{text[:77]}..."


def check(settings: T, prefix: str = "") -> T:
    """Return a settings dataclass whose every value, also in nested ones, has its type and lies within its bounds.

    Args:
        settings: The dataclass.
        prefix: What stands before its fields' names, such as `train.`.

    Raises:
        UserError: One does not; the sentence names the setting, its value and what it must be.
    """
    hints = get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):  # type: ignore[arg-type]
        kind, bounds = split(hints[field.name])
        key, value = f"{prefix}{field.name}", getattr(settings, field.name)
        if wrong := type_problem(kind, value):
            raise UserError(f"{key}={shown(value)} must {wrong}")
        for name, nested in _nested(key, value):
            check(nested, f"{name}.")
        for bound in bounds if value is not None else ():
            if wrong := bound.problem(value):
                raise UserError(f"{key}={shown(value)} must {wrong}")
    return settings


def split(hint: Any) -> tuple[Any, tuple[Bound, ...]]:
    """Return the type and the bounds of a field's annotation."""
    if get_origin(hint) is Annotated:
        kind, *bounds = get_args(hint)
        return kind, tuple(bounds)
    return hint, ()


def _nested(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    items = {key: value}
    if isinstance(value, Mapping):
        items = {f"{key}.{name}": item for name, item in value.items()}
    elif isinstance(value, list | tuple):
        items = {f"{key}.{number}": item for number, item in enumerate(value)}
    yield from ((name, item) for name, item in items.items() if is_dataclass(item) and not isinstance(item, type))


WORDS = {int: "be a whole number", float: "be a finite number", str: "be text", bool: "be true or false"}


def type_problem(kind: Any, value: Any) -> str | None:
    """Return what a type asks for, as the end of `steps=a must ...`, where the value is of another; None where not.

    Numbers must be finite.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return None
    if origin in (Union, types.UnionType):
        problems = [type_problem(option, value) for option in arguments]
        return None if None in problems else next(iter(problems))
    if origin is Annotated:
        return type_problem(arguments[0], value)
    if kind is float:
        right = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    elif kind is int:
        right = isinstance(value, int) and not isinstance(value, bool)
    elif origin in (list, tuple):
        return _items_problem(origin, arguments, value)
    elif origin is dict:
        if not isinstance(value, dict):
            return "be a mapping"
        items = [(arguments[0], key) for key in value] + [(arguments[1], item) for item in value.values()]
        return next((wrong for part, item in items if (wrong := type_problem(part, item))), None)
    else:
        right = isinstance(value, kind)
    return None if right else WORDS.get(kind, f"be a {getattr(kind, '__name__', kind)}")


def _items_problem(origin: type, arguments: tuple[Any, ...], value: Any) -> str | None:
    if not isinstance(value, list | tuple):
        return "be a list"
    if origin is tuple and Ellipsis not in arguments:
        if len(value) != len(arguments):
            return f"be a list of {len(arguments)} items"
        pairs = zip(arguments, value, strict=True)
    else:
        pairs = ((arguments[0], item) for item in value)
    return next((f"each {wrong}" for kind, item in pairs if (wrong := type_problem(kind, item))), None)

"""The one exception type whose message is meant for the person at the keyboard."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: one sentence that says what is wrong, where, and how to mend it.

    The command line prints the message alone, without a traceback, and exits with status 2.

    >>> from lua_lightning import upscale_image
    >>> try:
    ...     upscale_image("missing.png")
    ... except UserError as error:
    ...     print(error)
    missing.png does not exist
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for a `name` that is not among the `known` ones, with the nearest match first."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {kind} {name!r}: {hint}known: {', '.join(known)}")


def first_line(error: object) -> str:
    """Return an error's first line, short enough for a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]

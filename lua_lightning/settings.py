"""What a settings dataclass says about its fields: the one place that reads the docstrings under them."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from lua_lightning.bounds import split

WIDTH = 100


@dataclass(frozen=True)
class Setting:
    """One field of a settings dataclass, as a user writes it."""

    name: str
    """Its key, dotted below a group: `train.steps`."""
    kind: str
    """Its type, as Python spells it: `int`, `str | None`."""
    default: str
    """Its default as YAML, on one line."""
    explanation: str
    """The docstring under the field, on one line; empty when there is none."""
    bounds: str = ""
    """What it may be, in a few words; empty where its type says it."""


@dataclass(frozen=True)
class Group:
    """The settings of one dataclass that are not groups themselves."""

    name: str
    """Its key; empty for the settings at the top."""
    summary: str
    """The first line of the dataclass's docstring."""
    settings: tuple[Setting, ...]
    """In the order of the fields."""


def field_docstrings(schema: type) -> dict[str, str]:
    """Return the docstring under each field of a dataclass, by name, on one line; fields without one are left out."""
    found: dict[str, str] = {}
    for kind in reversed(schema.__mro__):
        if is_dataclass(kind):
            found.update(_own_docstrings(kind))
    return found


def _own_docstrings(schema: type) -> Iterator[tuple[str, str]]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(schema))).body
    assert isinstance(definition, ast.ClassDef)
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield statement.target.id, " ".join(text.value.split())


def groups(schema: type, prefix: str = "") -> list[Group]:
    """Return the settings of a dataclass and of the dataclasses in it, one group each, the outer one first."""
    kinds, texts = get_type_hints(schema, include_extras=True), field_docstrings(schema)
    plain, nested = [], []
    for field in fields(schema):
        name, (kind, bounds) = f"{prefix}{field.name}", split(kinds[field.name])
        if isinstance(kind, type) and is_dataclass(kind):
            nested += groups(kind, f"{name}.")
        else:
            words = "; ".join(filter(None, map(str, bounds)))
            plain.append(Setting(name, _spelled(kind), _shown(_default(field)), texts.get(field.name, ""), words))
    summary = (inspect.getdoc(schema) or "").splitlines()[0]
    return [Group(prefix.rstrip("."), summary, tuple(plain)), *nested]


def _spelled(kind: Any) -> str:
    """Return a type as Python spells it, without the modules of classes."""
    plain = isinstance(kind, type) and not hasattr(kind, "__args__")
    return kind.__name__ if plain else re.sub(r"\b(?:\w+\.)+", "", str(kind))


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else MISSING


def _shown(value: Any) -> str:
    """Return a default as YAML on one line, as it may stand behind `key=`."""
    if value is MISSING:
        return ""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value) if value != "" else '""'


def settings_text(title: str, schema: type) -> str:
    """Return every setting of a dataclass by group, as help shows them: `key=default`, then the explanation."""
    lines = [f"{title}:"]
    for group in groups(schema):
        lines += ["", f"  {group.name}: {group.summary}" if group.name else f"  {group.summary}"]
        for setting in group.settings:
            lines.append(f"    {setting.name}={setting.default}")
            lines += textwrap.wrap(setting.explanation, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines)


def settings_markdown(schema: type) -> str:
    """Return every setting of a dataclass as Markdown, a list per group."""
    parts = []
    for group in groups(schema):
        if group.name:
            parts.append(f"### `{group.name}`")
        parts.append(group.summary)
        parts.append("\n".join(_item(setting) for setting in group.settings))
    return "\n\n".join(parts)


def _item(setting: Setting) -> str:
    default = f"default `{setting.default}`" if setting.default else "required"
    bounds = f"; {setting.bounds}" if setting.bounds else ""
    text = f"- `{setting.name}` (`{setting.kind}`, {default}{bounds}): {setting.explanation}"
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)

"""The one reader of JSON and YAML files: whatever is wrong with one is a sentence that names it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lua_lightning.errors import UserError, first_line

MOST_BYTES, MOST_VALUES, DEEPEST = 2**20, 100_000, 50  # of YAML, which people write
Shape = type | tuple[type, ...]
KINDS = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "a truth value",
}


def read_json(path: Path, shape: Shape = dict, keys: Mapping[str, Shape] | None = None) -> Any:
    """Return what a JSON file holds.

    Args:
        path: The file.
        shape: Type of the whole.
        keys: Types of what the mapping must hold, by key.

    Raises:
        UserError: The file is missing, damaged, nested too deep, or of another shape.
    """
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else first_line(error)
        raise UserError(f"{path} cannot be read as JSON: {reason}") from error
    check_shape(path, content, shape, keys or {})
    return content


def check_shape(path: Path, content: Any, shape: Shape, keys: Mapping[str, Shape]) -> None:
    """Refuse the content of a file that has another shape.

    Raises:
        UserError: The whole is of another type, or a key is missing or of another type.
    """
    if not isinstance(content, shape):
        raise UserError(
            f"{path} holds {_kind(type(content))} where {_kind(shape)} belongs: it is damaged, or another file"
        )
    for key, kind in keys.items():
        if not isinstance(content.get(key), kind):
            found = f"holds {_kind(type(content[key]))} as" if key in content else "lacks"
            raise UserError(f"{path} {found} {key!r}, where {_kind(kind)} belongs: it is damaged, or another file")


def _kind(shape: Shape) -> str:
    names = [KINDS.get(kind, "nothing" if kind is type(None) else kind.__name__) for kind in _all(shape)]
    return " or ".join(names)


def _all(shape: Shape) -> tuple[type, ...]:
    return shape if isinstance(shape, tuple) else (shape,)


class _PlainLoader(yaml.SafeLoader):
    """Reads plain values; a key that comes twice is refused, and so is merging, which can unfold without end."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave merge keys alone, which no constructor takes then."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands there twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds; an empty one holds no settings.

    Only plain values are read: a tag that asks for an object is refused.

    Raises:
        UserError: The file is missing or damaged, refers to itself, or unfolds to too many values.
    """
    try:
        text = _text(path)
        if len(text) > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES // 2**20} MiB")
        content = yaml.load(text, _PlainLoader)
        _count(content)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else _where(error)
        raise UserError(f"{path} cannot be read as YAML: {reason}") from error
    return {} if content is None else content


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} cannot be read: it is no file")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} cannot be read: it is no text in UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"{path} cannot be read: there is no such file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or first_line(error)}") from error


def _where(error: Exception) -> str:
    """Return a YAML error on one line, with its place."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return first_line(error)
    return f"{getattr(error, 'problem', None) or first_line(error)} (line {mark.line + 1}, column {mark.column + 1})"


def _count(content: Any) -> None:
    """Refuse aliases that make a small file a large or an endless one.

    Raises:
        ValueError: They do.
    """
    waiting, count = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if count > MOST_VALUES or depth > DEEPEST:
            raise ValueError("it refers to itself, or unfolds to too many values")
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(child, depth + 1) for child in children]

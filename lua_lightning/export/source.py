"""One self-contained Python file out of several modules of the library, for where the library is not installed."""

import ast
from collections.abc import Sequence
from pathlib import Path

import lua_lightning

PACKAGE = "lua_lightning"
ROOT = Path(lua_lightning.__file__).parent


def joined(head: str, modules: Sequence[str]) -> str:
    """Return the text of one module that holds what several of the library's hold.

    Their imports of each other fall away, and the others come first, each once.

    Args:
        head: Its docstring.
        modules: Paths below the package, each after those it imports, such as `models/network.py`.

    Raises:
        ValueError: A module imports one that is not among them, or two define the same name.
    """
    names: dict[str, str] = {}
    whole: set[str] = set()
    parts: dict[str, set[str]] = {}
    bodies = []
    inside = {f"{PACKAGE}." + path.removesuffix(".py").replace("/", ".") for path in modules}
    for path in modules:
        text = (ROOT / path).read_text(encoding="utf-8")
        tree = ast.parse(text)
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in imports:
            if isinstance(node, ast.Import):
                whole |= {ast.unparse(ast.Import([alias])) for alias in node.names}
            elif node.module and node.module.partition(".")[0] == PACKAGE:
                if node.module not in inside:
                    raise ValueError(f"{path} imports {node.module}, which would be missing where it goes")
            else:
                parts.setdefault(node.module or "", set()).update(ast.unparse(alias) for alias in node.names)
        for name in _defined(tree):
            if names.setdefault(name, path) != path:
                raise ValueError(f"{path} and {names[name]} both define {name}")
        body = text.splitlines(keepends=True)[(imports[-1].end_lineno if imports else tree.body[0].end_lineno) or 0 :]
        bodies.append("".join(body).strip("\n"))
    lines = [*sorted(whole), *(f"from {name} import {', '.join(sorted(parts[name]))}" for name in sorted(parts))]
    return f'"""{head}"""\n\n' + "\n".join(lines) + "\n\n\n" + "\n\n\n".join(bodies) + "\n"


def _defined(tree: ast.Module) -> list[str]:
    """Return the names that a module binds at its top, apart from imports."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign):
            found += [part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    return found

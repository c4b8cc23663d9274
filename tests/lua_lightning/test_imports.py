"""Which room may import which: the library never imports the workbench, and imports point one way."""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from baselines.registry import METHODS, method_class

ROOT = Path(__file__).parents[2]
LIBRARY, WORKBENCH = "lua_lightning", ("baselines", "benchmarks", "data", "docs", "experiments", "tests")
# From the lowest to the highest; each imports only rooms above it in this table. `*` stands for the package itself.
ROOMS = (
    "errors",
    "files",
    "locks",
    "signals",
    "processes",
    "*",
    "zoo",
    "checkout",
    "recipes",
    "documents",
    "markdown",
    "bounds",
    "data_config",
    "config",
    "settings",
    "sizes",
    "tiling",
    "pictures",
    "images",
    "before_after",
    "environment",
    "models",
    "pipeline_parts",
    "generators",
    "pipeline",
    "latent_files",
    "pixel_upscalers",
    "upscaling",
    "demo",
    "pairs",
    "evaluation",
    "tracking",
    "training",
    "export",
    "sweeps",
    "doctor",
    "commands",
    "cli",
    "__main__",
)
# What each package of the workbench may import beside itself and the library.
MAY_IMPORT = {"baselines": (), "data": (), "benchmarks": ("baselines",), "docs": ("baselines", "benchmarks")}
IMPORTERS = ("import_module", "__import__", "resolve_name", "find_spec", "run_module", "getattr_module")
TARGET = re.compile(r"([a-z_]\w*(?:\.\w+)*):\w+")  # "package.module:Name"


def modules_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(source: str, package: str = "") -> Iterator[str]:
    """Yield the modules that a source imports anywhere in it: by statement, by call, or as a `module:Name` string."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in IMPORTERS:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value.partition(":")[0]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = TARGET.fullmatch(node.value)
            if found:
                yield found[1]
            elif node.value.startswith(f"{LIBRARY}.") and re.fullmatch(r"[\w.]+", node.value):
                yield node.value


def imports_of(path: Path) -> set[str]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return set(imports(path.read_text(), package))


def top(module: str) -> str:
    return module.partition(".")[0]


def room_of(module: str) -> str | None:
    """Return the room of a module of the library; None for names that are no module."""
    parts = module.split(".")
    if len(parts) == 1:
        return "*"
    place = ROOT / LIBRARY / parts[1]
    return parts[1] if place.is_dir() or place.with_suffix(".py").is_file() else None


def test_every_way_to_import_is_seen():
    source = textwrap.dedent("""
        import baselines.lua
        from benchmarks import run
        def later():
            from data.build import build
            import importlib
            importlib.import_module("docs.build")
            return __import__("tests")
        TABLE = {"lua": "experiments.lua:Lua", "stage": "data.photos", "hint": "see: data"}
    """)
    found = set(imports(source))
    assert {
        "baselines.lua",
        "benchmarks",
        "benchmarks.run",
        "data.build",
        "docs.build",
        "tests",
        "experiments.lua",
    } <= found
    assert "data.photos" not in found
    assert "lua_lightning.models.adapter" in set(imports("from .adapter import x", "lua_lightning.models"))
    assert "lua_lightning.errors" in set(imports("from ..errors import x", "lua_lightning.models"))


def test_the_library_never_imports_the_workbench():
    wrong = {str(path.relative_to(ROOT)): imports_of(path) for path in modules_of(LIBRARY)}
    assert {path: names for path, found in wrong.items() if (names := {n for n in found if top(n) in WORKBENCH})} == {}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_packages_of_the_workbench_import_one_way(package):
    others = set(WORKBENCH) - {package, *MAY_IMPORT[package]}
    wrong = {path.name: {n for n in imports_of(path) if top(n) in others} for path in modules_of(package)}
    assert {name: names for name, names in wrong.items() if names} == {}


def test_no_module_changes_where_python_looks_for_modules():
    paths = [path for package in (LIBRARY, *MAY_IMPORT) for path in modules_of(package)]
    changing = re.compile(r"\bsys\.path\b|\bPYTHONPATH\b|\bsite\.addsitedir\b")
    assert [str(path.relative_to(ROOT)) for path in paths if changing.search(path.read_text())] == []


def test_every_room_is_in_the_order():
    present = {
        path.stem for path in (ROOT / LIBRARY).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert present - {"__init__"} | {"*"} == set(ROOMS)


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "*"])
def test_a_room_imports_only_rooms_before_it(room):
    allowed = {*ROOMS[: ROOMS.index(room) + 1]}
    place = ROOT / LIBRARY / room
    paths = modules_of(f"{LIBRARY}/{room}") if place.is_dir() else [place.with_suffix(".py")]
    wrong = {}
    for path in paths:
        rooms = {room_of(name) for name in imports_of(path) if top(name) == LIBRARY} - {None, *allowed}
        if rooms:
            wrong[str(path.relative_to(ROOT))] = rooms
    assert wrong == {}


@pytest.mark.parametrize("name", METHODS)
def test_every_target_of_the_method_table_is_beside_it_and_bears_its_name(name):
    assert METHODS[name].startswith("baselines.")
    assert method_class(name).name == name

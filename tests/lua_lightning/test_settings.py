"""Every setting explains itself, and help and documentation print the explanations."""

import ast
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from docs.settings_page import PAGE, page
from lua_lightning.config import RunConfig
from lua_lightning.settings import Group, Setting, field_docstrings, groups, settings_markdown, settings_text

ROOT = Path(__file__).parents[2]
PACKAGES = ("lua_lightning", "baselines", "benchmarks", "data")
NAMED = ("Config", "Settings", "LossOptions")


@dataclass
class BrushConfig:
    """The brush."""

    hair: str = "fine"
    """Kind of hair: fine or
    coarse."""
    width: float = 0.5


@dataclass
class PaintConfig:
    """A painting."""

    layers: tuple[int, ...] = (1, 2)
    """Layers of paint."""
    frame: str | None = None
    """Frame around it."""
    brush: BrushConfig = field(default_factory=BrushConfig)
    """The brush."""


@dataclass
class OilConfig(PaintConfig):
    """A painting in oil."""

    frame: str | None = "gold"
    """Frame of an oil painting."""
    days: int = 9
    """Days to dry."""


def test_docstrings_under_fields_are_found():
    assert field_docstrings(BrushConfig) == {"hair": "Kind of hair: fine or coarse."}
    assert field_docstrings(OilConfig) == {
        "layers": "Layers of paint.",
        "frame": "Frame of an oil painting.",
        "brush": "The brush.",
        "days": "Days to dry.",
    }


def test_settings_are_grouped_as_they_are_written():
    assert groups(PaintConfig) == [
        Group(
            "",
            "A painting.",
            (
                Setting("layers", "tuple[int, ...]", "[1, 2]", "Layers of paint."),
                Setting("frame", "str | None", "null", "Frame around it."),
            ),
        ),
        Group(
            "brush",
            "The brush.",
            (
                Setting("brush.hair", "str", "fine", "Kind of hair: fine or coarse."),
                Setting("brush.width", "float", "0.5", ""),
            ),
        ),
    ]


def test_help_and_markdown_name_each_setting_with_its_default():
    text = settings_text("settings", PaintConfig)
    assert "    layers=[1, 2]\n        Layers of paint.\n" in text
    assert "  brush: The brush.\n    brush.hair=fine\n" in text
    assert "- `brush.hair` (`str`, default `fine`): Kind of hair: fine or coarse." in settings_markdown(PaintConfig)


def test_defaults_are_shown_as_yaml_reads_them():
    from lua_lightning.config import to_yaml

    flat = yaml.safe_load(to_yaml(RunConfig()))
    for group in groups(RunConfig):
        for setting in group.settings:
            value = flat
            for key in setting.name.split("."):
                value = value[key]
            assert yaml.safe_load(setting.default) == value, setting.name


def undocumented(path: Path) -> list[str]:
    """Return the fields of settings dataclasses in a file that have no docstring."""
    missing = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ClassDef) or not node.name.endswith(NAMED):
            continue
        if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
            continue
        for statement, following in zip(node.body, [*node.body[1:], ast.Pass()], strict=True):
            if isinstance(statement, ast.AnnAssign):
                text = following.value.value if isinstance(following, ast.Expr) else None  # type: ignore[attr-defined]
                if not (isinstance(text, str) and text.strip().endswith(".") and text[0].isupper()):
                    missing.append(f"{path.relative_to(ROOT)}: {node.name}.{ast.unparse(statement.target)}")
    return missing


def test_every_field_of_every_setting_has_a_docstring_that_is_a_sentence():
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert [field for path in files for field in undocumented(path)] == []


def test_the_page_is_current():
    assert PAGE.read_text() == page(), "docs/settings.md is not current: run `make docs-settings`"
    assert [line for line in PAGE.read_text().splitlines() if len(line) >= 120] == []


def test_train_help_explains_every_setting(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    text = subprocess.check_output([sys.executable, "-m", "lua_lightning", "train", "--help"], text=True)
    plain = " ".join(text.split())
    for group in groups(RunConfig):
        for setting in group.settings:
            assert f"{setting.name}={setting.default} {setting.explanation}" in plain
            assert setting.explanation

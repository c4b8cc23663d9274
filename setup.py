"""What pyproject.toml cannot say: the recipes go into the wheel, and the package page's links lead somewhere."""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")


def said(key: str) -> str:
    """Return a text of pyproject.toml; Python 3.10 has no reader of TOML."""
    return re.findall(rf'^{key} = "(.*)"', PROJECT, re.MULTILINE)[0]


def package_page() -> str:
    """Return the README with links to the files of this version instead of to files beside it."""
    home, tag = said("Repository"), f"v{said('version')}"

    def absolute(found: re.Match[str]) -> str:
        picture, text, target = found.groups()
        return f"{picture}[{text}]({home}/{'raw' if picture else 'blob'}/{tag}/{target})"

    return LINK.sub(absolute, (ROOT / "README.md").read_text(encoding="utf-8"))


class BuildWithRecipes(build_py):
    """Copies `experiments/` into the package, where `lua_lightning.recipes` finds it."""

    def run(self) -> None:
        """Build, then copy; an editable install finds the folder of the checkout."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "lua_lightning/experiments"
            shutil.copytree(ROOT / "experiments", target, dirs_exist_ok=True)


setup(
    long_description=package_page(),
    long_description_content_type="text/markdown",
    cmdclass={"build_py": BuildWithRecipes},
)

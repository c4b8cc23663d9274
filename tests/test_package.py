"""The package as pip gets it: what is in the wheel, its page, and its commands outside a checkout."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from lua_lightning import __version__
from lua_lightning.checkout import REPOSITORY

ROOT = Path(__file__).parents[1]
PARTS = (
    *("lua_lightning", "baselines", "experiments"),
    *("README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile"),
    *("pyproject.toml", "requirements.txt", "setup.py"),
)
LARGE = ("tiny-sdxl", "lua-flux2-small", "lua-flux2-base", "__pycache__")  # left out here, to be quick


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a source distribution that was built from a copy of the checkout."""
    copy = tmp_path_factory.mktemp("copy")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns(*LARGE))
        else:
            shutil.copy(ROOT / part, copy / part)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=copy)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    made = sorted(map(str, (copy / "dist").iterdir()))
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *made], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout
    (path,) = (copy / "dist").glob("*.whl")
    return path


def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def test_the_wheel_holds_models_recipes_methods_and_the_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    recipes = {path.relative_to(ROOT).as_posix() for path in (ROOT / "experiments").rglob("*.yaml")}
    assert {f"lua_lightning/{name}" for name in recipes} <= names
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lua_lightning").rglob("*.py")}
    assert modules <= names
    assert "lua_lightning/py.typed" in names
    assert "lua_lightning/zoo/lua-tiny-d16/diffusion_pytorch_model.safetensors" in names
    assert "baselines/generate.py" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names} == {
        "lua_lightning",
        "baselines",
        f"lua_lightning-{__version__}.dist-info",
    }


def test_the_package_page_leads_somewhere(wheel):
    page = metadata(wheel)
    urls = dict(entry.split(", ") for entry in page.get_all("Project-URL"))
    assert urls["Repository"] == REPOSITORY
    assert {"Documentation", "Changelog", "Issues", "Paper"} <= set(urls)
    assert {"heif", "onnx", "metrics", "sweep", "methods"} <= set(page.get_all("Provides-Extra"))
    assert page["License-Expression"] == "Apache-2.0"
    assert len(page.get_all("Classifier")) > 5
    links = re.findall(r"\]\(([^)\s]+)\)", page.get_payload())
    assert f"{REPOSITORY}/raw/v{__version__}/docs/images/comparison.png" in links
    assert [link for link in links if not re.match(r"https?://|#", link)] == []


@pytest.mark.slow
def test_commands_work_outside_a_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "cwd").mkdir()
    script = "from lua_lightning.cli import main\nmain([])\nprint(main(['train', 'stage1']))\nmain(['--version'])\n"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path / "cwd", env=environment
    )
    assert "generate" in done.stdout
    assert done.stdout.endswith(f"\n2\nlua-lightning {__version__}\n")
    assert "data/photos has no manifest.json" in done.stderr
    assert f"in a checkout of the project ({REPOSITORY})" in done.stderr

"""Recipes by name, in a checkout and outside one; and what an installed package says of the workbench."""

from pathlib import Path

import pytest

from lua_lightning import checkout, recipes
from lua_lightning.cli import main
from lua_lightning.errors import UserError
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.recipes import find_recipe

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["stage1", "stage1.yaml", "experiments/stage1.yaml", "experiments/stage1"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_recipe_is_found_by_its_name_from_anywhere(name, inside, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT if inside else tmp_path)
    assert find_recipe(name).resolve() == ROOT / "experiments/stage1.yaml"


def test_files_here_go_before_the_packages_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stage1").write_text("name: mine\n")
    assert find_recipe("stage1") == Path("stage1")
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/stage2.yaml").write_text("name: mine too\n")
    assert find_recipe("stage2") == Path("experiments/stage2.yaml")
    assert find_recipe("chains/full").is_file()
    assert recipes.recipes() == ["experiments/stage2.yaml"]
    assert "chains/full" in recipes.recipes("chains")


@pytest.mark.parametrize("name", ["stgae1", "/nowhere/stage1.yaml", "..", "experiments"])
def test_what_is_no_recipe_is_told_by_the_command(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", name]) == 2
    error = capsys.readouterr().err
    assert name in error
    assert len(error.strip().splitlines()) == 1


def test_a_recipe_runs_outside_the_checkout(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "stage1", f"data.photos={tmp_path}"]) == 2
    assert "is not a photo set" in capsys.readouterr().err


def test_an_installed_package_says_where_the_workbench_is(tmp_path, monkeypatch):
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    with pytest.raises(
        UserError, match=f"python -m data photos --out .* in a checkout of the project .{checkout.REPOSITORY}"
    ):
        PhotoSet.load(tmp_path)
    assert "mlflow ui" in checkout.how_to_see_runs()

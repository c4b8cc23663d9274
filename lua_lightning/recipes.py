"""The recipes of `experiments/`, which come with the package and are found by name from anywhere."""

from pathlib import Path

from lua_lightning.checkout import ROOT

HOME = "experiments"
PACKAGED = Path(__file__).parent / HOME  # where the wheel has them; a checkout has them beside the library


def recipes_folder() -> Path:
    """Return the folder of the recipes that came with the library."""
    return PACKAGED if PACKAGED.is_dir() else ROOT / HOME


def find_recipe(name: str) -> Path:
    """Return the file of a recipe.

    >>> find_recipe("stage1").name
    'stage1.yaml'

    Args:
        name: A file; or a recipe by its place, such as `stage1`, `chains/full` or `experiments/chains/full.yaml`. An
            `experiments/` in the current folder goes before the package's own.

    Returns:
        The file; `name` itself where there is none, for whoever reads it to say so.
    """
    path = Path(name)
    if path.is_file():
        return path
    place = path.relative_to(HOME) if path.parts[:1] == (HOME,) else path
    place = place.with_name(f"{place.name}.yaml") if place.suffix != ".yaml" and place.name else place
    for folder in (Path(HOME), recipes_folder()):
        if (folder / place).is_file():
            return folder / place
    return path


def recipes(place: str = "") -> list[str]:
    """Return the names of the recipes in a folder of `experiments/`: files here, or what the package has."""
    here = sorted((Path(HOME) / place).glob("*.yaml"))
    if here:
        return [path.as_posix() for path in here]
    home = recipes_folder()
    return [path.relative_to(home).with_suffix("").as_posix() for path in sorted((home / place).glob("*.yaml"))]

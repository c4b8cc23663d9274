"""Whether the library runs from a checkout of the project, which has more than an installed package does."""

from pathlib import Path

REPOSITORY = "https://github.com/lua-lightning/lua-lightning"
ROOT = Path(__file__).parents[1]


def in_checkout() -> bool:
    """Return whether the workbench (photographs, benchmarks, `make`) lies beside the library."""
    return (ROOT / "pyproject.toml").is_file() and (ROOT / "Makefile").is_file()


def of_checkout(command: str) -> str:
    """Return a command of the workbench as a sentence names it: outside a checkout, with where to get one.

    Args:
        command: Such as `make data`.
    """
    return f"`{command}`" if in_checkout() else f"`{command}` in a checkout of the project ({REPOSITORY})"


def how_to_see_runs() -> str:
    """Return the command that shows recorded runs."""
    return "`make mlflow-ui`" if in_checkout() else "`mlflow ui --backend-store-uri sqlite:///mlflow.db`"

"""A finished benchmark, read again: its results, the images of its rows, and what people voted on them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.manifest import read_manifest
from benchmarks.store import image_path
from lua_lightning.errors import UserError, first_line
from lua_lightning.pictures import readable_suffixes

RESULTS, VOTES = "results.json", "votes.json"
PHOTOGRAPH, SHOWN_CROPS = "photograph", 4  # what crops are shown beside, and how many of them
NEEDED = ("protocol", "commit", "device", "generator", "size", "prompts", "config", "failures", "differences", "rows")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: It cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({first_line(error)}): give another file") from error


def read_results(run: Path) -> dict[str, Any]:
    """Return the results of a finished benchmark.

    Args:
        run: Its folder, or its `results.json`.

    Raises:
        UserError: The file is not there or is not a benchmark's.
    """
    path = run / RESULTS if run.is_dir() else run
    if not path.is_file():
        raise UserError(f"{path} is not there: give the folder of a finished benchmark, such as runs/bench/512-...")
    results = read_json(path)
    lacking = [key for key in NEEDED if not isinstance(results, dict) or key not in results]
    if lacking:
        raise UserError(f"{path} is not a benchmark's results.json (it lacks {lacking[0]}): give the folder of one")
    return results


def folder_of_run(run: Path) -> Path:
    """Return the folder of a benchmark that is named by its folder or by its `results.json`."""
    return run if run.is_dir() else run.parent


def images_of(run: Path, results: Mapping[str, Any]) -> dict[str, tuple[Path, ...]]:
    """Return the files of each row of the generation track that has an image of every prompt, in their order.

    Args:
        run: Folder of the benchmark; images made elsewhere are looked for where the benchmark found them.
        results: What `read_results` returned.
    """
    brought, found = results["config"].get("folders", {}), {}
    manifest = results["config"].get("manifest")
    timed = read_manifest(Path(manifest).expanduser(), len(results["prompts"])) if manifest else {}
    for row in results["rows"]:
        name = row["method"]
        if row["track"] != "generation":
            continue
        if name in timed:
            files = tuple(image.file for image in timed[name])
        elif name in brought:
            suffixes = readable_suffixes()
            files = tuple(sorted(file for file in Path(brought[name]).glob("*") if file.suffix.lower() in suffixes))
        else:
            files = tuple(image_path(run, name, index) for index in range(len(results["prompts"])))
        if len(files) == len(results["prompts"]) and all(file.is_file() for file in files):
            found[name] = files
    return found


def crop_path(run: Path, name: str, number: int) -> Path:
    """Return where what a row made of a photograph's crop is stored; the crop itself is called `PHOTOGRAPH`."""
    return run / "crops" / name / f"{number:04d}.png"


def crops_of(run: Path, results: Mapping[str, Any]) -> dict[str, tuple[Path, ...]]:
    """Return the files of the first crops as each row of the reconstruction track made them, and the crops."""
    found = {}
    for name in (*(row["method"] for row in results["rows"] if row["track"] == "reconstruction"), PHOTOGRAPH):
        files = tuple(path for number in range(SHOWN_CROPS) if (path := crop_path(run, name, number)).is_file())
        if files:
            found[name] = files
    return found


def with_votes(results: dict[str, Any], run: Path) -> dict[str, Any]:
    """Return results with the scores of the votes that `lua-lightning votes --run` stored in the benchmark's folder."""
    path = run / VOTES
    if not path.is_file():
        return results
    votes = read_json(path)
    rows = []
    for row in results["rows"]:
        scores = votes["scores"].get(row["method"], {}) if row["track"] == "generation" else {}
        rows.append({**row, "metrics": row["metrics"] | scores})
    return {**results, "rows": rows, "votes": {key: value for key, value in votes.items() if key != "scores"}}

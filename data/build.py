"""Make a photo set: collect, prepare, and put the finished folder in place in one step."""

import argparse
import contextlib
import glob
import json
import os
import shutil
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from data.candidates import Sharpness, Unreachable
from data.recipes import AUTHOR, IMAGE, RECIPES
from lua_lightning.errors import UserError
from lua_lightning.files import is_running
from lua_lightning.pairs.photos import MANIFEST_NAME, PhotoSet, Split

REPLACED = "replaced"  # where the set that is being replaced waits for the new one to be in place


def build(recipe_name: str, options: argparse.Namespace) -> PhotoSet:
    """Return the set at `options.out`, made by the recipe unless one is there already, and print what was done.

    A set that is there stays as it is, whatever recipe and settings made it; only `--force` replaces it. Where the
    recipe's place cannot be reached, its fallback is made, and the manifest says so.

    Raises:
        UserError: Nothing usable was found, or `options.out` holds files that are not a set's.
    """
    recipe = RECIPES[recipe_name]
    try:
        return _build(recipe_name, options)
    except Unreachable as error:
        if recipe.fallback is None:
            raise
        if (options.out / MANIFEST_NAME).is_file():  # what can be had offline is no reason to lose a set
            raise UserError(f"no {recipe.summary} here ({error}): {options.out} stays as it is") from error
        print(f"no {recipe.summary} here ({error}): making {recipe.fallback} instead.", file=sys.stderr)
        return _build(recipe.fallback, options)


def _build(recipe_name: str, options: argparse.Namespace) -> PhotoSet:
    recipe = RECIPES[recipe_name]
    sharpness = Sharpness(options.min_side or recipe.min_side, options.target_softness, options.max_softness)
    fractions = {"val_fraction": options.val_fraction, "test_fraction": options.test_fraction}
    split_by = options.split_by or recipe.split_by
    settings = {**asdict(sharpness), **fractions, **recipe.settings(options)}
    if split_by != IMAGE:  # which sets without the word are
        settings["split_by"] = split_by
    _clear_left_overs(options.out.resolve())
    _refuse_foreign(options.out, options.force)
    existing = None if options.force else _existing(options.out, recipe_name, settings)
    if existing:
        return existing
    started = time.monotonic()
    partial = _new_partial(options.out)
    try:
        fetched, made = _fetched_folder(options.out, partial, recipe.resumes), partial / "made"
        fetched.mkdir(exist_ok=True)
        made.mkdir()
        try:
            harvest = recipe.collect(options, fetched)
        finally:
            with contextlib.suppress(OSError):
                fetched.rmdir()  # where nothing was fetched there is nothing to go on with
        fetched.mkdir(exist_ok=True)
        from data.prepare import prepare  # imports torch, which a set that is there already need not wait for

        shares = tuple(fractions.values())
        photos, skipped = prepare(harvest, made, sharpness, shares, options.workers, split_by == AUTHOR)
        PhotoSet(made, recipe_name, settings, tuple(photos), tuple(skipped)).save()
        _put_in_place(made, options.out.resolve(), partial / REPLACED)
        shutil.rmtree(fetched, ignore_errors=True)
    finally:
        _clear(partial, options.out.resolve())
    photo_set = PhotoSet.load(options.out)
    print(summary(photo_set, time.monotonic() - started))
    return photo_set


def summary(photo_set: PhotoSet, seconds: float) -> str:
    """Return the closing lines: how many photographs, why others were left out, and where the set is."""
    megabytes = sum(photo_set.path(photo).stat().st_size for photo in photo_set.photos if not photo.place) / 1e6
    lines = [
        f"{photo_set.folder}: {_counts(photo_set)} (recipe {photo_set.recipe}, {megabytes:.0f} MB, {seconds:.0f} s)"
    ]
    reasons = Counter(image.reason.split(":")[0] for image in photo_set.skipped)
    lines += [f"  left out {count}: {reason}" for reason, count in reasons.most_common()]
    return "\n".join(lines)


def _counts(photo_set: PhotoSet) -> str:
    train, val, test = (len(photo_set.split(split)) for split in get_args(Split))
    return f"{train} photographs to train on, {val} to validate and {test} to test, {len(photo_set.skipped)} left out"


def _existing(out: Path, recipe_name: str, settings: dict[str, Any]) -> PhotoSet | None:
    """Return the set at `out`, whatever made it, and say so; None where there is none, or a damaged one to be restored.

    Raises:
        UserError: The set there is damaged, and this recipe with these settings is not what made it.
    """
    if not (out / MANIFEST_NAME).is_file():
        return None
    asked = (recipe_name, settings)
    try:
        found = PhotoSet.load(out)
        made_by = found.recipe, found.settings
        found.verify()
    except UserError as error:
        if _made_by(out) != asked:
            raise UserError(f"{error}, which replaces it") from error
        print(f"{error}; doing so now", file=sys.stderr)
        return None
    if made_by == asked:
        print(f"{out} is there already: {_counts(found)}; nothing to do (--force makes it again)")
    else:
        other = "with other settings or images" if found.recipe == recipe_name else f"by the recipe {found.recipe}"
        print(f"{out} is there already, made {other}: {_counts(found)}; it stays as it is (--force replaces it)")
    return found


def _made_by(out: Path) -> tuple[str, dict[str, Any]] | None:
    """Return the recipe and the settings that the manifest at `out` names, though its files may be damaged."""
    try:
        content = json.loads((out / MANIFEST_NAME).read_text(encoding="utf-8"))
        return content["recipe"], content["settings"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _refuse_foreign(out: Path, force: bool) -> None:
    """Replace nothing but a photo set: the folder may be missing, empty, or hold a manifest and the files it lists.

    With `force`, PNG files may stand beside a manifest that cannot be read.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give --out a folder")
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    listed = _listed(out)
    if MANIFEST_NAME in names and listed is None and not force:
        raise UserError(
            f"{out / MANIFEST_NAME} cannot be read, so nothing says which files there are the set's: give --out "
            "another folder, or --force to replace it and the PNG files beside it"
        )
    foreign = [name for name in names if (name not in listed if listed else not name.endswith(".png"))]
    foreign = [name for name in foreign if name != MANIFEST_NAME]
    if names and (foreign or MANIFEST_NAME not in names):
        example = foreign[0] if foreign else names[0]
        raise UserError(f"{out} holds files that are not a photo set's ({example}): give --out another folder")


def _listed(out: Path) -> set[str] | None:
    """Return the names in a set's folder that its manifest speaks of; None where it cannot be read."""
    try:
        content = json.loads((out / MANIFEST_NAME).read_text(encoding="utf-8"))
        return {MANIFEST_NAME, *(Path(image["file"]).parts[0] for image in content["images"])}
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None


def _partial_prefix(out: Path) -> str:
    return f".{out.name}.partial-"


def _clear_left_overs(out: Path) -> None:
    """Clear away the hidden folders beside `out` of runs that were killed."""
    for left_over in out.parent.glob(f"{glob.escape(_partial_prefix(out))}*"):
        process = left_over.name.removeprefix(_partial_prefix(out))
        if not (process.isdigit() and is_running(int(process))):
            _clear(left_over, out)


def _clear(partial: Path, out: Path) -> None:
    """Delete a work folder; a set that it was to replace goes back where nothing has come in its place."""
    if (partial / REPLACED).is_dir() and not out.exists():
        (partial / REPLACED).rename(out)
    shutil.rmtree(partial, ignore_errors=True)


def _new_partial(out: Path) -> Path:
    """Return a new hidden folder beside `out`, named by this process."""
    out = out.resolve()  # absolute: a recipe's commands run in folders of their own
    partial = out.parent / f"{_partial_prefix(out)}{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def _fetched_folder(out: Path, partial: Path, kept: bool) -> Path:
    """Return where originals are fetched to: below the work folder, or beside `out`, where they outlive a kill."""
    out = out.resolve()
    return out.parent / f".{out.name}.fetched" if kept else partial / "fetched"


def _put_in_place(made: Path, out: Path, replaced: Path) -> None:
    """Move a finished set to `out`, and the one that was there to `replaced` (see `_clear`)."""
    if out.exists():
        out.rename(replaced)
    made.rename(out)

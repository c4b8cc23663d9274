"""Make a photo set: collect, prepare, and put the finished folder in place in one step."""

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from data.candidates import Sharpness, Unreachable
from data.recipes import RECIPES
from lua_lightning.errors import UserError
from lua_lightning.pairs.photos import MANIFEST_NAME, PhotoSet, Split


def build(recipe_name: str, options: argparse.Namespace) -> PhotoSet:
    """Return the set at `options.out`, made by the recipe unless it is there already, and print what was done.

    Where the recipe's place cannot be reached, its fallback is made, and the manifest says so.

    Raises:
        UserError: Nothing usable was found, or `options.out` holds files that are not a set's.
    """
    recipe = RECIPES[recipe_name]
    try:
        return _build(recipe_name, options)
    except Unreachable as error:
        if recipe.fallback is None:
            raise
        if _recipe_of(options.out) == recipe_name:
            raise UserError(f"no {recipe.summary} here ({error}): {options.out} stays as it is") from error
        print(f"no {recipe.summary} here ({error}): making {recipe.fallback} instead.", file=sys.stderr)
        return _build(recipe.fallback, options)


def _build(recipe_name: str, options: argparse.Namespace) -> PhotoSet:
    recipe = RECIPES[recipe_name]
    sharpness = Sharpness(options.min_side or recipe.min_side, options.target_softness, options.max_softness)
    fractions = {"val_fraction": options.val_fraction, "test_fraction": options.test_fraction}
    settings = {**asdict(sharpness), **fractions, **recipe.settings(options)}
    existing = None if options.force else _existing(options.out, recipe_name, settings)
    if existing:
        print(f"{options.out} is there already: {_counts(existing)}; nothing to do (--force makes it again)")
        return existing
    _refuse_foreign(options.out)
    started = time.monotonic()
    partial = _new_partial(options.out)
    try:
        fetched, made = partial / "fetched", partial / "made"
        fetched.mkdir()
        made.mkdir()
        harvest = recipe.collect(options, fetched)
        from data.prepare import prepare  # imports torch, which a set that is there already need not wait for

        photos, skipped = prepare(harvest, made, sharpness, tuple(fractions.values()), options.workers)
        PhotoSet(made, recipe_name, settings, tuple(photos), tuple(skipped)).save()
        _put_in_place(made, options.out.resolve(), partial / "replaced")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    photo_set = PhotoSet.load(options.out)
    print(summary(photo_set, time.monotonic() - started))
    return photo_set


def summary(photo_set: PhotoSet, seconds: float) -> str:
    """Return the closing lines: how many photographs, why others were left out, and where the set is."""
    megabytes = sum(photo_set.path(photo).stat().st_size for photo in photo_set.photos) / 1e6
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
    if not (out / MANIFEST_NAME).is_file():
        return None
    try:
        photo_set = PhotoSet.load(out)
        photo_set.verify()
    except UserError as error:
        print(f"{error}; doing so now", file=sys.stderr)
        return None
    return photo_set if (photo_set.recipe, photo_set.settings) == (recipe_name, settings) else None


def _recipe_of(out: Path) -> str | None:
    """Return the recipe that made the set at `out`, `None` where there is no whole set."""
    try:
        return PhotoSet.load(out).recipe
    except UserError:
        return None


def _refuse_foreign(out: Path) -> None:
    """Replace nothing but a photo set: the folder may be missing, empty, or hold a manifest and PNG files only."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give --out a folder")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    foreign = sorted(name for name in names if name != MANIFEST_NAME and not name.endswith(".png"))
    if names and (foreign or MANIFEST_NAME not in names):
        example = foreign[0] if foreign else sorted(names)[0]
        raise UserError(f"{out} holds files that are not a photo set's ({example}): give --out another folder")


def _new_partial(out: Path) -> Path:
    """Return a new hidden folder beside `out`, and clear away those of runs that were killed."""
    parent = out.resolve().parent  # absolute: a recipe's commands run in folders of their own
    parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{out.resolve().name}.partial-"
    for left_over in parent.glob(f"{prefix}*"):
        if not _is_running(left_over.name.removeprefix(prefix)):
            shutil.rmtree(left_over, ignore_errors=True)
    partial = parent / f"{prefix}{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    return partial


def _is_running(process_id: str) -> bool:
    try:
        os.kill(int(process_id), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _put_in_place(made: Path, out: Path, replaced: Path) -> None:
    if out.exists():
        out.rename(replaced)
    made.rename(out)

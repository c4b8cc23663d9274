"""The page of a blind vote: pairs of images of the same prompt, in one HTML file that needs no network."""

import hashlib
import html
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.pages import embedded, jpeg_uri
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.pictures import read_image

PAGE = Path(__file__).parent / "vote.template.html"
ORIGINAL, SPOILED = "original", "spoiled"  # the two sides of an attention pair
SPOILED_BY = 16  # times reduced before it is enlarged again
QUALITY = 97


@dataclass(frozen=True)
class Pair:
    """Two images to compare."""

    prompt: int
    """Number of the prompt."""
    one: str
    """Method of the one image; `original` in an attention pair."""
    two: str
    """Method of the other; `spoiled` in an attention pair."""
    source: str = ""
    """The method whose image an attention pair shows; empty in every other pair."""


def choose_pairs(methods: Sequence[str], prompts: int, count: int, attention: int, seed: int) -> list[Pair]:
    """Return the pairs of a ballot: every two methods meet equally often, give or take one.

    Args:
        methods: At least two.
        prompts: How many prompts there are.
        count: The largest number of pairs without the attention pairs; 0 takes all.
        attention: How many attention pairs are added; at most one for each image.
        seed: Of the choice.
    """
    draw = random.Random(seed)
    rounds: list[list[Pair]] = [[] for _ in range(prompts)]
    for one, two in itertools.combinations(methods, 2):
        for turn, prompt in zip(rounds, draw.sample(range(prompts), prompts), strict=True):
            turn.append(Pair(prompt, one, two))
    for turn in rounds:
        draw.shuffle(turn)
    pairs = [pair for turn in rounds for pair in turn][: count or None]
    images = list(itertools.product(range(prompts), methods))
    checks = draw.sample(images, min(attention, len(images)))
    return pairs + [Pair(prompt, ORIGINAL, SPOILED, source) for prompt, source in checks]


def spoiled(pixels: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) that everybody prefers less: reduced and enlarged again in blocks, the same size."""
    image = Image.fromarray(pixels)
    small = image.resize([max(1, side // SPOILED_BY) for side in image.size], Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.NEAREST))


def ballot(results: Mapping[str, Any], images: Mapping[str, Sequence[Path]], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return what the page reads: facts, prompts, pairs and the images they show.

    Args:
        results: As `results.json` holds them.
        images: Files of each method, in the order of prompts.
        pairs: What is compared.
    """
    facts = {key: results[key] for key in ("protocol", "generator", "size")}
    content: dict[str, Any] = {**facts, "prompts": results["prompts"], "pairs": [], "images": []}
    places: dict[tuple[str, str, int], int] = {}
    for pair in pairs:
        shown = []
        for name in (pair.one, pair.two):
            key = (pair.source or name, name if name == SPOILED else "", pair.prompt)
            if key not in places:
                pixels = read_image(images[key[0]][pair.prompt])
                places[key] = len(content["images"])
                content["images"].append(jpeg_uri(spoiled(pixels) if name == SPOILED else pixels, QUALITY))
            shown.append(places[key])
        content["pairs"].append({**asdict(pair), "attention": bool(pair.source), "shown": shown})
    content["ballot"] = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    return content


def check_methods(methods: Sequence[str], images: Mapping[str, Sequence[Path]]) -> list[str]:
    """Return the methods to compare: those named, or all that have images.

    Raises:
        UserError: One has no images, or fewer than two are left.
    """
    for name in methods:
        if name not in images:
            raise unknown_name("row with an image of every prompt", name, images)
    chosen = list(dict.fromkeys(methods)) or list(images)
    if len(chosen) < 2:
        raise UserError(f"a vote needs two methods with an image of every prompt, and here is {len(chosen)}")
    return chosen


def page(content: Mapping[str, Any]) -> str:
    """Return the HTML file of a ballot."""
    title = html.escape(f"{content['size']} px with {content['generator']}")
    return Template(PAGE.read_text(encoding="utf-8")).substitute(title=title, data=embedded(content))

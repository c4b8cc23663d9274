"""Models of people's preference, each run in a process of its own by the package that holds it.

They bring large packages with requirements of their own, and some need tens of GiB: a process keeps both apart, and
gives the memory back. Weights are fetched by those packages on first use. The process is this file: it reads one JSON
object on stdin and writes one as its last line.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lua_lightning.errors import UserError


@dataclass(frozen=True)
class Judge:
    """A model that scores images; higher is better."""

    package: str
    """The package that runs it."""
    install: str
    """The command that installs the package."""
    model: str
    """Its name in that package."""
    asks_prompt: bool = False
    """Whether the score is of an image for its prompt."""


JUDGES = {
    "musiq": Judge("pyiqa", "pip install pyiqa", "musiq"),
    "q_align": Judge("pyiqa", "pip install pyiqa", "qalign"),
    "laion_aesthetic": Judge("pyiqa", "pip install pyiqa", "laion_aes"),
    "hpsv3": Judge("hpsv3", "pip install hpsv3", "", asks_prompt=True),
}
"""The models by the key of their metric."""


def judge(name: str, files: Sequence[Path], prompts: Sequence[str] = (), device: str = "cpu") -> list[float]:
    """Return the score of each image file, (N,), by the model called `name`.

    Args:
        name: A key of `JUDGES`.
        files: Image files.
        prompts: Their prompts, for a model that asks for them.
        device: Where the model runs.

    Raises:
        UserError: The package is not installed, there is no prompt for each image, or the model failed.
    """
    model = JUDGES[name]
    if importlib.util.find_spec(model.package) is None:
        raise UserError(f"the package {model.package} is not installed: {model.install}")
    if model.asks_prompt and len(prompts) != len(files):
        raise UserError("each image needs its prompt: give as many images as there are prompts")
    task = {"name": name, "files": [str(file) for file in files], "prompts": list(prompts), "device": device}
    command = [sys.executable, "-m", "lua_lightning.evaluation.preference"]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or ["it ended without a word"]
    try:
        scores = json.loads(lines[-1])["scores"]
    except (ValueError, TypeError, KeyError):
        raise UserError(
            f"{model.package} failed ({lines[-1]}): see whether it runs alone, then measure again"
        ) from None
    if len(scores) != len(files) or not all(isinstance(score, float) for score in scores):
        raise UserError(f"{model.package} gave {len(scores)} scores for {len(files)} images: use another version of it")
    return scores


def _pyiqa(task: dict[str, Any]) -> list[float]:
    import pyiqa  # pyright: ignore[reportMissingImports]

    metric = pyiqa.create_metric(JUDGES[task["name"]].model, device=task["device"])
    return [float(metric(file)) for file in task["files"]]


def _hpsv3(task: dict[str, Any]) -> list[float]:
    import hpsv3  # pyright: ignore[reportMissingImports]

    scorer = hpsv3.HPSv3RewardInferencer(device=task["device"])
    pairs = zip(task["prompts"], task["files"], strict=True)
    rewards = [scorer.reward(prompts=[prompt], image_paths=[file])[0] for prompt, file in pairs]
    return [float(mean) for mean, *_ in rewards]  # each has its mean, then its spread


def preference_metrics(files: Sequence[Path], prompts: Sequence[str], device: str = "cpu") -> dict[str, dict[str, Any]]:
    """Return the mean score of image files by each model of `JUDGES`, with its interval over images, or why not.

    Arguments as those of `judge`.
    """
    from lua_lightning.evaluation.intervals import CropScores, intervals

    found: dict[str, dict[str, Any]] = {}
    for name in JUDGES:
        try:
            scores = judge(name, files, prompts, device)
        except UserError as error:
            found[name] = {"unavailable": str(error)}
            continue
        crops = [CropScores(index, index, {"x/score": score}) for index, score in enumerate(scores)]
        found[name] = intervals(crops)["x/score"].entry()
    return found


PACKAGES: dict[str, Callable[[dict[str, Any]], list[float]]] = {"pyiqa": _pyiqa, "hpsv3": _hpsv3}
"""How each package is asked."""


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print("\n" + json.dumps({"scores": PACKAGES[JUDGES[asked["name"]].package](asked)}))

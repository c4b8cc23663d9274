"""What is killed: each command at a tiny size, started again by the same words, and what must come out of it."""

import dataclasses
import hashlib
import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from lua_lightning.generators.catalogue import GENERATORS
from lua_lightning.generators.tiny_sdxl import build_tiny_sdxl
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from tests.conftest import SMALL, write_codec, write_photo_set
from tests.lua_lightning.generators.pipelines import SMALL_SDXL

ROOT = Path(__file__).parents[2]
# What no two runs have alike: times, speeds, places and names that are drawn.
VOLATILE = {
    "seconds", "seconds_spread", "peak_memory_mib", "images_per_second", "data_wait", "hours", "run_id", "folder",
    "adapter", "config",
}  # fmt: skip
VOLATILE_POINTS = re.compile(r"seconds|images_per_second|data_wait|peak_memory|hours|^system/")
TIME = re.compile(r"\d{8}-\d{6}x*")


@dataclass(frozen=True)
class Workload:
    """A command that goes on where it was killed.

    Attributes:
        arguments: The command line; relative paths lie in the folder of an attempt.
        outcome: Returns what must be there in the end, from the folder of an attempt.
        weight: How often it is taken, compared with the others.
    """

    arguments: tuple[str, ...]
    outcome: Callable[[Path], dict[str, Any]]
    weight: float = 1.0


def prepare(home: Path) -> dict[str, Workload]:
    """Write photographs, models and files, and return the workloads by name."""
    photos = write_photo_set(home / "photos", ["train"] * 4 + ["val"] * 2 + ["test"])
    codec = write_codec(home / "codec")
    cache = {"codec": codec, "crop_px": 64, "crops_per_photo": 3, "held_out_crops_per_photo": 2, "shard_pairs": 5}
    common = [*SMALL, f"data.photos={photos}", *(f"cache.{name}={value}" for name, value in cache.items())]
    common += ["runs=runs", "cache.folder=cache", "cache.dtype=float32", "optim.warmup_steps=1"]
    stage = f"{ROOT}/experiments/stage1.yaml"
    return {
        "cache": Workload(
            ("cache", stage, *common, "cache.crops_per_photo=60", "cache.held_out_crops_per_photo=12"), cached
        ),
        "train": Workload(
            ("train", stage, *common, "train.steps=60", "validation.every=20", "--folder", "runs/one"), trained
        ),
        "chain": Workload(
            ("chain", _chain(home), *common, "train.steps=16", "validation.every=8", "--folder", "runs/chain"), trained
        ),
        "sweep": Workload(("sweep", _sweep(home, common)), trained, 0.5),
        "benchmark": Workload(("benchmarks", *_benchmark(home)), benchmarked),
        "upscale": Workload(("upscale", *_pictures(home, codec), "-o", "out", "--skip-existing"), enlarged),
    }


def _chain(home: Path) -> str:
    stages = [{"experiment": f"{ROOT}/experiments/stage{number}.yaml"} for number in (1, 2)]
    path = home / "chain.yaml"
    path.write_text(yaml.safe_dump({"name": "two", "stages": stages}))
    return str(path)


def _sweep(home: Path, common: list[str]) -> str:
    content = {
        "name": "small",
        "base": f"{ROOT}/experiments/stage1.yaml",
        "settings": [*common, "train.steps=12", "validation.every=1000"],
        "seeds": [0],
        "reference": "full",
        "variants": {"full": {}, "l1": {"settings": ["loss.latent_fft=0"]}},
    }
    path = home / "sweep.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def _benchmark(home: Path) -> list[str]:
    pipe = build_tiny_sdxl(dataclasses.replace(SMALL_SDXL, latent_channels=16))
    pipe.save_pretrained(home / "generator")
    small = dataclasses.replace(GENERATORS["tiny-sdxl"], source=str(home / "generator"))
    GENERATORS["tiny-sdxl"] = small
    photos = write_photo_set(home / "large", ["train", "val", "test", "test"], size=512)
    methods = 'methods=["latent-bicubic","lua","pixel-bicubic"]'
    return ["512", methods, "prompts=3", "steps=2", "crops_per_photo=1", f"photos={photos}", "out=runs"]


def _pictures(home: Path, codec: Path) -> list[str]:
    torch.manual_seed(0)
    LatentUpscaler(AdapterConfig.sized("tiny", channels=4)).save_pretrained(home / "adapter")
    (home / "pictures").mkdir()
    for number in range(12):
        random = np.random.default_rng(number)
        Image.fromarray(random.integers(0, 256, (96, 128, 3), dtype=np.uint8)).save(home / f"pictures/{number}.png")
    models = ["--adapter", str(home / "adapter"), "--codec", str(codec), "--device", "cpu"]
    return [str(home / "pictures"), *models]


def cached(folder: Path) -> dict[str, Any]:
    """Return the shards of a cache and its manifest."""
    return _hashes(folder, "cache/*/*.safetensors") | _hashes(folder, "cache/*/manifest.json")


def trained(folder: Path) -> dict[str, Any]:
    """Return weights, scores, results and MLflow's points of every run, whatever it belongs to."""
    weights = {_name(folder, path): _tensors(path) for path in sorted(folder.glob("runs/**/adapter/*.safetensors"))}
    scores = _hashes(folder, "runs/**/scores.json")
    return weights | scores | _results(folder) | points(folder)


def benchmarked(folder: Path) -> dict[str, Any]:
    """Return the pixels, scores, results and MLflow's points of a benchmark."""
    pictures = {}
    for path in sorted(folder.glob("runs/*/images/**/*.png")):
        with Image.open(path) as image:  # the file tells its seconds too
            pictures[_name(folder, path)] = hashlib.sha256(image.tobytes()).hexdigest()
    return pictures | _hashes(folder, "runs/*/reconstruction/*.json") | _results(folder) | points(folder)


def enlarged(folder: Path) -> dict[str, Any]:
    """Return the enlargements."""
    return _hashes(folder, "out/**/*")


def points(folder: Path) -> dict[str, Any]:
    """Return the end and the points of every MLflow run, by its stage and name, straight from the database."""
    found: dict[str, Any] = {}
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        for run, name, status in database.execute("SELECT run_uuid, name, status FROM runs ORDER BY start_time"):
            tags = dict(database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run,)))
            rows = database.execute("SELECT key, step, value FROM metrics WHERE run_uuid = ?", (run,))
            kept_rows = sorted(row for row in rows if not VOLATILE_POINTS.search(row[0]))
            key = f"MLflow {tags.get('stage')}/{name}/{tags.get('method', '')}"
            found.setdefault(key, []).append([status, kept_rows])
    for runs in found.values():
        runs.sort(key=json.dumps)
    return found


def _results(folder: Path) -> dict[str, Any]:
    paths = sorted(folder.glob("runs/**/results.json"))
    return {_name(folder, path): _stable(json.loads(path.read_text())) for path in paths}


def _stable(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _stable(value) for key, value in content.items() if key not in VOLATILE}
    return [_stable(value) for value in content] if isinstance(content, list) else content


def _hashes(folder: Path, pattern: str) -> dict[str, str]:
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    return {_name(folder, path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _tensors(path: Path) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _name(folder: Path, path: Path) -> str:
    return TIME.sub("TIME", str(path.relative_to(folder)))

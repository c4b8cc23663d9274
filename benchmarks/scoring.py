"""Rows of results from stored images and scores: every metric with its interval, or why it is unavailable."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.benchmark import Benchmark
from benchmarks.config import BenchConfig
from benchmarks.generation import summary
from benchmarks.manifest import cost_of
from benchmarks.protocol import PATCH_SEED, PATCHES
from benchmarks.reconstruction import with_recovery
from benchmarks.store import Record
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.evaluation.cmmd import cmmd_estimate
from lua_lightning.evaluation.detail import image_metrics
from lua_lightning.evaluation.distribution import ImageFeatures, fid, kid_estimate, meaningful
from lua_lightning.evaluation.features import ClipScore, FeatureNetwork, ImageSet, effnet_lite0, extract, inception
from lua_lightning.evaluation.intervals import CropScores, Estimate, intervals, paired_differences
from lua_lightning.evaluation.perceptual import distances
from lua_lightning.evaluation.preference import preference_metrics
from lua_lightning.evaluation.registry import METRICS, keys_of, label_of, metric_of, parts
from lua_lightning.evaluation.rows import LUA, row_of
from lua_lightning.evaluation.transformers_features import clip_image, dinov2
from lua_lightning.images import write_image
from lua_lightning.pairs.photos import PhotoSet

(CLIP,) = METRICS["clip"].keys


def reference_images(photos: PhotoSet, folder: Path) -> tuple[Path, ...]:
    """Return the photographs' central squares at their own resolution, stored once."""
    paths = []
    for photo in photos.photos:
        path = folder / photos.sha256[:16] / f"{photo.sha256[:16]}.png"
        if not path.is_file():
            image = photos.read(photo)
            side = min(photo.width, photo.height)
            top, left = (photo.height - side) // 2, (photo.width - side) // 2
            write_image(path, image[top : top + side, left : left + side])
        paths.append(path)
    return tuple(paths)


def feature_networks(config: BenchConfig, device: str = "cpu") -> tuple[list[FeatureNetwork], dict[str, str]]:
    """Return the feature networks that are here, and by name why others are not."""
    found, missing = [], {}
    loaders: dict[str, Callable[[], FeatureNetwork]] = {
        "inception": lambda: inception(_path(config.inception), device),
        "effnet-lite0": lambda: effnet_lite0(device),
        "dinov2-vitl14": lambda: dinov2(_path(config.dinov2), device),
        "clip-vitl14-336": lambda: clip_image(_path(config.clip_large), device),
    }
    for name, load in loaders.items():
        try:
            found.append(load())
        except UserError as error:
            missing[name] = str(error)
    return found, missing


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


class Distributions:
    """The distances between sets of images, and their patches, of image files against the reference photographs."""

    def __init__(self, benchmark: Benchmark, device: str = "cpu", cache: Path = Path("cache/features")):
        self.cache, self.device, self.patch = cache, device, benchmark.patch
        self.networks, self.missing = feature_networks(benchmark.config, device)
        self.reference = reference_images(benchmark.photos, Path("cache/reference"))
        sides = [min(photo.width, photo.height) for photo in benchmark.photos.photos]
        large = zip(self.reference, sides, strict=True)
        self.patch_reference = tuple(path for path, side in large if side >= self.patch)

    def metrics(self, files: tuple[Path, ...]) -> dict[str, dict[str, Any]]:
        """Return every metric of a set of images, by name with its feature network."""
        metrics: dict[str, dict[str, Any]] = {}
        for patch in ("", PATCH):
            side, count = (self.patch, PATCHES) if patch else (None, 1)
            reference_files = self.patch_reference if patch else self.reference
            ours, theirs = (ImageSet(paths, side, count, PATCH_SEED) for paths in (files, reference_files))
            for network in self.networks if reference_files else ():
                sets = [ImageFeatures(extract(network, images, self.cache), images.groups) for images in (ours, theirs)]
                for kind, measure in DISTANCES.items():
                    if f"{patch}{kind}/{network.name}" in METRICS[f"{patch}{kind}"].keys:
                        metrics[f"{patch}{kind}/{network.name}"] = measure(sets[0], sets[1], self.device)
        return {key: metrics.get(key) or self._unavailable(key) for key in keys_of("sets")} | {
            key: {"unavailable": f"{label_of(key)} needs at least {metric_of(key).fewest} images"}
            for key in metrics
            if len(files) < metric_of(key).fewest
        }

    def _unavailable(self, key: str) -> dict[str, Any]:
        network = parts(key)[2]
        if network in self.missing:
            return {"unavailable": self.missing[network]}
        return {
            "unavailable": f"the photo set has no photograph of {self.patch} px, the side of the patches that are "
            "compared"
        }


def _kid(ours: ImageFeatures, theirs: ImageFeatures, device: str) -> dict[str, Any]:
    try:
        return kid_estimate(ours, theirs, device).entry()
    except UserError as error:
        return {"unavailable": str(error)}


def _frechet(ours: ImageFeatures, theirs: ImageFeatures, device: str) -> dict[str, Any]:
    try:
        entry: dict[str, Any] = {"value": fid(ours.values, theirs.values)}
    except np.linalg.LinAlgError:
        return {"unavailable": "the images are too alike for the root of their covariance: measure more of them"}
    if not meaningful(ours.values, theirs.values):
        count, dimensions = ours.values.shape
        entry["note"] = (
            f"{count} samples in {dimensions} dimensions: this mostly measures the number of samples, "
            f"read {METRICS['kid'].label} instead"
        )
    return entry


def _cmmd(ours: ImageFeatures, theirs: ImageFeatures, device: str) -> dict[str, Any]:
    estimate, part = cmmd_estimate(ours, theirs, device)
    entry: dict[str, Any] = estimate.entry()
    if not part <= SMALL_PART * estimate.value:
        entry["note"] = f"{METRICS['cmmd'].text(part)} of it comes from the small number of images"
    return entry


PATCH, SMALL_PART = "patch-", 0.05  # before the key of a metric of patches; share that needs no note
DISTANCES: dict[str, Callable[[ImageFeatures, ImageFeatures, str], dict[str, Any]]] = {
    "kid": _kid,
    "fid": _frechet,
    "fd": _frechet,
    "cmmd": _cmmd,
}
"""The functions of the metrics that compare sets of images, by key: an entry of results, on a device."""


def clip_metric(files: Sequence[Path], prompts: Sequence[str], score: ClipScore | str) -> dict[str, dict[str, Any]]:
    """Return the mean prompt match with its interval over images, or why it is unavailable."""
    if isinstance(score, str):
        return {CLIP: {"unavailable": score}}
    values = score(files, prompts)
    crops = [CropScores(index, index, {"x/clip": float(value)}) for index, value in enumerate(values)]
    return {score.name: intervals(crops)["x/clip"].entry()}


def load_clip(file: str | None, device: str = "cpu") -> ClipScore | str:
    """Return CLIP, or why it is not here."""
    try:
        return ClipScore(Path(file) if file else None, device=device)
    except UserError as error:
        return str(error)


def generation_rows(
    benchmark: Benchmark,
    images: Mapping[str, tuple[Path, ...]],
    records: Mapping[str, Sequence[Record]],
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Return the rows of the generation track.

    Args:
        benchmark: What is measured.
        images: Files of each method and of each folder of images made elsewhere.
        records: What each method took; images made elsewhere have none, but for the times in their manifest.
        device: Where features are computed.
    """
    distributions, clip, rows = Distributions(benchmark, device), load_clip(benchmark.config.clip, device), []
    for name, files in images.items():
        row: dict[str, Any] = {"method": name, "track": "generation", "size": benchmark.size, "n": len(files)}
        row["metrics"] = distributions.metrics(files) | image_metrics(files)
        prompts = benchmark.prompts
        if name in benchmark.timed:
            prompts = tuple(prompts[image.prompt] for image in benchmark.timed[name])
            row |= cost_of(benchmark.timed[name])
        row["metrics"] |= preference_metrics(files, prompts, device)
        if len(files) == len(prompts):
            row["metrics"] |= clip_metric(files, prompts, clip)
        rows.append(row | (summary(records[name]) if name in records else {}))
    return rows


def reconstruction_rows(rows: dict[str, list[CropScores]], size: int) -> list[dict[str, Any]]:
    """Return the rows of the reconstruction track."""
    unavailable = {name: {"unavailable": reason} for name, reason in distances()[1].items()}
    results = []
    for name, crops in rows.items():
        estimates = intervals(with_recovery(rows, name))
        metrics: dict[str, Any] = {
            metric: estimates[f"x/{metric}"].entry() for metric in keys_of("pairs") if f"x/{metric}" in estimates
        }
        results.append(
            {
                "method": name,
                "track": "reconstruction",
                "size": size,
                "n": len(crops),
                "rival": row_of(name).competes,
                "metrics": metrics | unavailable,
            }
        )
    return results


def differences(rows: dict[str, list[CropScores]], one: str, other: str) -> dict[str, Estimate]:
    """Return `one` minus `other` in every paired metric, with the interval of the paired difference.

    Args:
        rows: Scores of the reconstruction track by row.
        one: Name of a row.
        other: Name of another.

    Raises:
        UserError: A row is not there.
    """
    for name in (one, other):
        if name not in rows:
            raise unknown_name("row of the reconstruction track", name, rows)
    found = paired_differences(with_recovery(rows, one), with_recovery(rows, other))
    return {metric: found[f"x/{metric}"] for metric in keys_of("pairs") if f"x/{metric}" in found}


def all_differences(rows: dict[str, list[CropScores]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return each row minus each later one in every paired metric, with intervals, by their names."""
    names = [*rows]
    return {
        one: {
            other: {metric: estimate.entry() for metric, estimate in differences(rows, one, other).items()}
            for other in names[place + 1 :]
        }
        for place, one in enumerate(names[:-1])
    }


def verdict(metric: str, difference: Estimate) -> str:
    """Return `better`, `worse`, or `no clear difference` where the interval holds zero or there is none."""
    if not difference.clear:
        return "no clear difference"
    return "better" if (difference.value > 0) == metric_of(metric).higher_is_better else "worse"


def differences_to_lua(scores: dict[str, list[CropScores]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, for every competitor, the adapter minus it in each paired metric, with interval and verdict."""
    if LUA not in scores:
        return {}
    found = {}
    for name in scores:
        if name != LUA and row_of(name).competes:
            estimates = differences(scores, LUA, name)
            found[name] = {metric: one.entry() | {"lua_is": verdict(metric, one)} for metric, one in estimates.items()}
    return found

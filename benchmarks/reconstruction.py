"""The reconstruction track: held-out photographs, reduced, encoded, enlarged, and compared with themselves."""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from baselines.contract import Start, World
from benchmarks.benchmark import Benchmark
from benchmarks.failures import Failures
from benchmarks.finished import PHOTOGRAPH, SHOWN_CROPS, crop_path
from benchmarks.protocol import CROP_PX
from lua_lightning.errors import UserError
from lua_lightning.evaluation.fidelity import PAIRED
from lua_lightning.evaluation.intervals import CropScores, read_scores, write_scores
from lua_lightning.evaluation.perceptual import available
from lua_lightning.evaluation.rows import CEILING, LATENT_BICUBIC, PHOTO_BICUBIC, ROWS
from lua_lightning.evaluation.scoring import image_scores
from lua_lightning.images import downscale, resize, to_tensor, write_image
from lua_lightning.models.pretrained import weights_mark
from lua_lightning.pairs.plan import Crop


def scores_path(benchmark: Benchmark, name: str) -> Path:
    """Return where the scores of a row are stored: the name holds a hash of the settings and weights that give them."""
    codec = hashlib.sha256(weights_mark(benchmark.config.generator).encode()).hexdigest()[:16]  # of rows of no method
    return benchmark.folder / "reconstruction" / f"{name}-{benchmark.marks.get(name, codec)}.json"


def _stored(path: Path) -> list[CropScores] | None:
    """Return stored scores, None where there are none, they are damaged, or lack a metric that can be computed now."""
    try:
        scores = read_scores(path)
    except UserError:
        return None
    wanted = {*PAIRED, *(distance.name for distance in available())}
    return scores if wanted <= scores[0].values.keys() else None


@torch.inference_mode()
def score_methods(benchmark: Benchmark, world: World) -> dict[str, list[CropScores]]:
    """Return the scores of every row on every crop, under PSNR, SSIM and the perceptual distances' names.

    Rows that were scored before are read. Every method begins at the same latents, those of the reduced crop; pixel
    methods at their decode.
    """
    names = [CEILING, PHOTO_BICUBIC, *benchmark.enlarging]
    failures = Failures(benchmark.folder)
    found = {name: scores for name in names if (scores := _stored(scores_path(benchmark, name))) is not None}
    missing = [name for name in names if name not in found and name not in failures.reasons()]
    crops = benchmark.crops() if missing else []
    images = [crop_image(benchmark, crop) for crop in crops]
    for name in missing:
        path = scores_path(benchmark, name)
        try:
            scores = [
                CropScores(number, crops[number].photo, _scored(benchmark, world, name, number, image))
                for number, image in enumerate(images)
            ]
        except Exception as error:  # one method's failure is one row's
            failures.add(name, error)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_scores(path, scores)
        found[name] = scores
    return {name: found[name] for name in names if name in found}


def crop_image(benchmark: Benchmark, crop: Crop) -> Tensor:
    """Return a crop of a photograph, (1, 3, `CROP_PX`, `CROP_PX`) in [-1, 1]."""
    photos = benchmark.photos
    image = to_tensor(photos.read(photos.photos[crop.photo]))
    return image[..., crop.top : crop.top + CROP_PX, crop.left : crop.left + CROP_PX]


@torch.inference_mode()
def enlarged(benchmark: Benchmark, world: World, name: str, image: Tensor) -> Tensor:
    """Return what a row makes of a crop that is reduced first, same shape and range.

    Args:
        benchmark: What is measured.
        world: Its generator and adapter.
        name: A method that enlarges, or a reference point.
        image: The crop, (1, 3, H, W) in [-1, 1].
    """
    small = downscale(image, benchmark.scale)
    if name == PHOTO_BICUBIC:
        return resize(small, (CROP_PX, CROP_PX))
    if name == CEILING:
        return world.decode(world.codec.encode(image.to(world.device))).cpu()
    start = Start(world.codec.encode(small.to(world.device)))
    return benchmark.method(name, world).run(start, CROP_PX).image.cpu()


def _scored(benchmark: Benchmark, world: World, name: str, number: int, image: Tensor) -> dict[str, float]:
    """Return the scores of a row on a crop; the first crops are stored for the report to show."""
    output = enlarged(benchmark, world, name, image)
    if number < SHOWN_CROPS:
        for shown, picture in ((name, output), (PHOTOGRAPH, image)):
            write_image(crop_path(benchmark.folder, shown, number), picture.clamp(-1, 1))
    return {metric: float(value) for metric, value in image_scores(output, image, available()).items()}


def with_recovery(rows: dict[str, list[CropScores]], name: str) -> list[CropScores]:
    """Return a row's scores beside those of latent bicubic and of the ceiling, as `intervals.summarise` takes them.

    Args:
        rows: Scores by row; without `latent-bicubic` and the ceiling among them there is no recovery.
        name: Of the row.
    """
    known = {ROWS[row].suffix: row for row in (LATENT_BICUBIC, CEILING) if row in rows}
    return [
        replace(
            crop,
            values={f"x/{metric}": value for metric, value in crop.values.items()}
            | {f"x/psnr{suffix}": rows[row][number].values["psnr"] for suffix, row in known.items()},
        )
        for number, crop in enumerate(rows[name])
    ]

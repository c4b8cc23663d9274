"""The reconstruction track: held-out photographs, reduced, encoded, enlarged, and compared with themselves."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from baselines.contract import Start, World
from baselines.registry import build_method
from benchmarks.config import BenchConfig
from benchmarks.generation import Failures, enlarging, reason_of
from lua_lightning.config import CacheConfig
from lua_lightning.evaluation.intervals import CropScores, read_scores, write_scores
from lua_lightning.evaluation.perceptual import available
from lua_lightning.evaluation.rows import CEILING, LATENT_BICUBIC, PHOTO_BICUBIC, ROWS
from lua_lightning.evaluation.scoring import image_scores
from lua_lightning.images import downscale, read_image, resize, to_tensor
from lua_lightning.models.pretrained import weights_mark
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.pairs.plan import plan_crops

CROP = 512  # pixels of the photograph's crops


def scores_path(folder: Path, name: str, mark: str) -> Path:
    """Return where the scores of a row are stored that settings and weights with this mark give."""
    return folder / "reconstruction" / f"{name}-{mark}.json"


@torch.inference_mode()
def score_methods(
    config: BenchConfig, world: World, marks: Mapping[str, str], folder: Path, scale: int
) -> dict[str, list[CropScores]]:
    """Return the scores of every row on every crop, under PSNR, SSIM and the perceptual distances' names.

    Rows that were scored before are read. Every method begins at the same latents, those of the reduced crop; pixel
    methods at their decode.
    """
    photos = PhotoSet.load(config.photos)
    cache = CacheConfig(crop_px=CROP, held_out_crops_per_photo=config.crops_per_photo)
    names = [CEILING, PHOTO_BICUBIC, *enlarging(config.methods)]
    codec = hashlib.sha256(weights_mark(config.generator).encode()).hexdigest()[:16]  # of the rows that are no method
    path_of = {name: scores_path(folder, name, marks.get(name, codec)) for name in names}
    found, missing, failures = {}, [], Failures(folder)
    for name in names:
        if path_of[name].is_file():
            found[name] = read_scores(path_of[name])
        elif name not in failures.reasons():
            missing.append(name)
    if not missing:
        return found
    crops = list(plan_crops(photos, "test", cache))
    images = []
    for crop in crops:
        image = to_tensor(read_image(photos.path(photos.photos[crop.photo])))
        images.append(image[..., crop.top : crop.top + CROP, crop.left : crop.left + CROP])
    for name in missing:
        try:
            scores = [
                CropScores(number, crops[number].photo, _scores(name, image, config, world, scale))
                for number, image in enumerate(images)
            ]
        except Exception as error:  # one method's failure is one row's
            failures.add(name, reason_of(error))
            continue
        path_of[name].parent.mkdir(parents=True, exist_ok=True)
        write_scores(path_of[name], scores)
        found[name] = scores
    return found


def _scores(name: str, image: torch.Tensor, config: BenchConfig, world: World, scale: int) -> dict[str, float]:
    small = downscale(image, scale)
    if name == PHOTO_BICUBIC:
        output = resize(small, (CROP, CROP))
    elif name == CEILING:
        output = world.decode(world.codec.encode(image.to(world.device)))
    else:
        method = build_method(name, world, config.settings.get(name, []))
        output = method.run(Start(world.codec.encode(small.to(world.device))), CROP).image
    values = image_scores(output.cpu(), image, available())
    return {metric: float(value) for metric, value in values.items()}


def with_recovery(rows: dict[str, list[CropScores]], name: str) -> list[CropScores]:
    """Return a row's scores beside those of latent bicubic and of the ceiling, as `intervals.summarise` takes them.

    Args:
        rows: Scores by row; without `latent-bicubic` and the ceiling among them there is no recovery.
        name: Of the row.
    """
    known = {ROWS[row].suffix: row for row in (LATENT_BICUBIC, CEILING) if row in rows}
    return [
        replace(
            own,
            values={f"x/{metric}": value for metric, value in own.values.items()}
            | {f"x/psnr{suffix}": rows[row][number].values["psnr"] for suffix, row in known.items()},
        )
        for number, own in enumerate(rows[name])
    ]

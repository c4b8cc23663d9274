"""What a search for loss weights minimises: a perceptual distance and a patch distance on validation photographs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from lua_lightning.config import RunConfig
from lua_lightning.evaluation.distribution import ImageFeatures, kid
from lua_lightning.evaluation.features import FeatureNetwork, effnet_lite0, random_crops
from lua_lightning.evaluation.perceptual import Perceptual, available
from lua_lightning.images import to_uint8
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.network import enlarge
from lua_lightning.pairs.cache import build_cache
from lua_lightning.pairs.dataset import PairDataset
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.pipeline import upscale_latents

PATCH, PATCHES, PATCH_SEED = 128, 8, 7  # side in pixels, number per crop, seed of their places
VERSION = "2"  # of what `distances` measures; values of different versions are not comparable


def distances(adapter: Path, run: RunConfig) -> dict[str, float]:
    """Return how far an adapter's validation crops are from the photographs, over how far latent bicubic's are.

    1 is latent bicubic, 0 the photographs themselves (a kernel distance, being unbiased, can fall a little below).

    Args:
        adapter: Folder.
        run: Its last stage, which says the data.

    Returns:
        By `x<scale>/<distance>`: each perceptual distance that is here, and `patch-kid` on EfficientNet-Lite0 features.
    """
    network = LatentUpscaler.from_pretrained(adapter)
    codec = LatentCodec.from_pretrained(run.cache.codec)
    pairs = PairDataset(build_cache(run.cache, PhotoSet.load(run.data.photos), codec), "val")
    features, perceptual = effnet_lite0(), available()
    found = {}
    for scale in network.config.scales:
        sums: dict[str, np.ndarray] = {distance.name: np.zeros(2) for distance in perceptual}
        patches: dict[str, list[np.ndarray]] = {"photo": [], "adapter": [], "bicubic": []}
        photos: list[int] = []
        for batch, images in _decoded(network, codec, pairs, scale):
            for distance in perceptual:
                sums[distance.name] += _both(distance, images, batch["image"])
            photos += [int(batch["photo"][0])] * PATCHES
            for name, image in {**images, "photo": batch["image"]}.items():
                place = PATCH_SEED * 1_000_003 + int(batch["sample"][0])
                side = min(PATCH, *image.shape[-2:])
                patches[name] += random_crops(to_uint8(image.clamp(-1, 1)), side, PATCHES, place)
        ratios = {name: totals[0] / totals[1] for name, totals in sums.items()}
        ratios["patch-kid"] = _patch_distance(features, patches, photos)
        found.update({f"x{scale}/{name}": float(value) for name, value in ratios.items()})
    return found


@torch.no_grad()
def _decoded(
    network: LatentUpscaler, codec: LatentCodec, pairs: PairDataset, scale: int
) -> Iterator[tuple[Mapping[str, Any], dict[str, torch.Tensor]]]:
    for batch in DataLoader(pairs, batch_size=1):
        latents = batch[f"lr_x{scale}"]
        yield (
            batch,
            {
                "adapter": codec.decode(upscale_latents(network, codec, latents, scale).float()),
                "bicubic": codec.decode(enlarge(latents.float(), scale)),
            },
        )


def _both(distance: Perceptual, images: Mapping[str, torch.Tensor], target: torch.Tensor) -> np.ndarray:
    return np.array([float(distance(images[name].clamp(-1, 1), target)) for name in ("adapter", "bicubic")])


def _patch_distance(network: FeatureNetwork, patches: Mapping[str, list[np.ndarray]], photos: list[int]) -> float:
    """Return the kernel distance of the adapter's patches over that of latent bicubic's.

    Patches of one photograph are no pair, neither within a set nor across: they are alike.
    """
    features = {name: ImageFeatures(network(crops), np.array(photos)) for name, crops in patches.items()}
    ours, theirs = (kid(features[name], features["photo"], same_images=True) for name in ("adapter", "bicubic"))
    return ours / theirs

"""The scores of any adapter on held-out crops."""

from pathlib import Path

from torch.utils.data import DataLoader

from lua_lightning.config import RunConfig
from lua_lightning.evaluation.intervals import CropScores
from lua_lightning.evaluation.perceptual import available
from lua_lightning.evaluation.scoring import evaluate_crops
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.cache import build_cache
from lua_lightning.pairs.dataset import PairDataset
from lua_lightning.pairs.photos import PhotoSet, Split
from lua_lightning.pipeline import check_pair


def measure(source: str | Path, config: RunConfig, split: Split, sharpness: float = 0.0) -> list[CropScores]:
    """Return the scores of an adapter, and of the rivals beside it, on every crop of one split of a run's photographs.

    Raises:
        UserError: The adapter does not fit the run's codec, or the split is empty.
    """
    adapter = LatentUpscaler.from_pretrained(source, sharpness=sharpness)
    codec = LatentCodec.from_pretrained(config.cache.codec)
    check_pair(adapter, codec)
    pairs = PairDataset(build_cache(config.cache, PhotoSet.load(config.data.photos), codec), split)
    return evaluate_crops(adapter, codec, DataLoader(pairs, batch_size=4), adapter.config.scales, available())

"""`lua-lightning evaluate`: the closing table of a training run, for any adapter."""

import json
from pathlib import Path

from torch.utils.data import DataLoader

from lua_lightning.adapter import LatentUpscaler
from lua_lightning.codec import LatentCodec
from lua_lightning.config import RunConfig, load_config
from lua_lightning.evaluation import evaluate
from lua_lightning.pairs import PairDataset, build_cache
from lua_lightning.photos import PhotoSet, Split
from lua_lightning.pipeline import check_pair
from lua_lightning.report import print_scores


def main(source: str, experiment: Path, overrides: list[str], split: Split) -> None:
    """Measure the adapter on one split of an experiment's cache; print a table and one JSON line."""
    config = load_config(RunConfig, experiment, overrides)
    adapter = LatentUpscaler.from_pretrained(source)
    codec = LatentCodec.from_pretrained(config.cache.codec)
    check_pair(adapter, codec)
    pairs = PairDataset(build_cache(config.cache, PhotoSet.load(config.data.photos), codec), split)
    scores = evaluate(adapter, codec, DataLoader(pairs, batch_size=4), adapter.config.scales)
    print_scores(scores, f"{source} on {len(pairs)} {split} crops")
    tracked = {f"{split}/{name}": value for name, value in scores.items()}
    print(json.dumps({"adapter": source, "crops": len(pairs), **tracked}))

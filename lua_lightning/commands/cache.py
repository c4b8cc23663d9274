"""`lua-lightning cache`: encode an experiment's latent pairs before training, all of them or one part of several."""

import json
import re
from pathlib import Path

from lua_lightning.config import RunConfig, load_config
from lua_lightning.environment import best_device
from lua_lightning.errors import UserError
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.cache import build_cache, build_part
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.training.checks import check_run


def main(experiment: Path, overrides: list[str], part: str | None) -> None:
    """Build the cache, or `part`, `I/N` with I from 0; print one JSON line.

    Raises:
        UserError: A setting is wrong, the photographs are missing, or `part` is no part.
    """
    config = load_config(RunConfig, experiment, overrides)
    check_run(config)
    photos = PhotoSet.load(config.data.photos)
    codec = LatentCodec.from_pretrained(config.cache.codec).to(best_device())
    if part is None:
        cache = build_cache(config.cache, photos, codec)
        pairs = {split: sum(shard["pairs"] for shard in cache.shards(split)) for split in ("train", "val", "test")}
        print(json.dumps({"cache": str(cache.folder), "pairs": pairs}))
        return
    found = re.fullmatch(r"(\d+)/(\d+)", part)
    if not found or not int(found[1]) < int(found[2]):
        raise UserError(f"--part {part} must be I/N with I from 0 to N - 1, such as 0/4")
    folder = build_part(config.cache, photos, codec, int(found[1]), int(found[2]))
    print(json.dumps({"cache": str(folder), "part": part}))

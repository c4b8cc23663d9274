"""The latent pair cache: HR crops of photographs and their x2 and x4 reductions, encoded once, read by slices.

A cache is a folder of safetensors shards and a `manifest.json`. Its name holds a fingerprint of everything that
determines its content (codec weights, photographs, settings), so a change of any of them is another cache. Shards are
written one at a time and renamed into place; a build that was killed goes on where it stopped, and a shard that is
damaged or belongs to another cache is rebuilt. Several processes or machines may encode it together, each its own part.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import torch
from rich.console import Console
from rich.progress import Progress
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lua_lightning.data_config import CacheConfig
from lua_lightning.documents import read_json
from lua_lightning.errors import UserError
from lua_lightning.files import append_json, write_json, write_tensors
from lua_lightning.locks import in_turn
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.encoding import crop_images, encode_images
from lua_lightning.pairs.photos import PhotoSet, Split, file_sha256
from lua_lightning.pairs.plan import Crop, plan_crops

FORMAT = 1


LEDGERS = "shards*.json*"  # what each process has written so far, with checksums: a line of JSON a shard
ENTRY = ("file", "split", "pairs", "bytes", "sha256")  # what is noted of a shard
MANIFEST = {"fingerprint": str, "codec": dict, "photos": list, "statistics": dict, "shards": list}
HELD_OUT: tuple[Split, ...] = ("val", "test")


class PairCache:
    """An opened cache: its manifest, and where its shards are."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = read_json(folder / "manifest.json", keys=MANIFEST)

    @property
    def photo_names(self) -> list[str]:
        """File names of the photographs, in the order that a sample's photo index counts."""
        return self.manifest["photos"]

    def shards(self, split: str) -> list[dict[str, Any]]:
        """Return the manifest entries of the shards of `split`."""
        return [shard for shard in self.manifest["shards"] if shard["split"] == split]

    def check_fits(self, codec: LatentCodec) -> None:
        """Refuse a codec other than the one that made the cache.

        Raises:
            UserError: Channels, downscale or weights differ.
        """
        made_by = self.manifest["codec"]
        ours = {"channels": codec.channels, "downscale": codec.downscale, "sha256": codec.sha256()}
        for key, value in ours.items():
            if made_by[key] != value:
                raise UserError(
                    f"the cache {self.folder} was made by the codec {made_by['source']} with {key} {made_by[key]}, "
                    f"but {codec.source} has {value}: build another with cache.codec={codec.source}"
                )


def settings_of(config: CacheConfig, through: LatentCodec | None, photos: PhotoSet) -> dict[str, Any]:
    """Return the settings that determine a cache's content; codecs by their weights, whatever their names.

    The bound of the held-out photographs is among them only where it leaves some out, and reductions and the kernel
    only where they are not the default, so that caches made before there were such settings are still found.
    """
    named = ["folder", "codec", "through", "verify", "workers"]
    named += [name for name in ("reductions", "lr_kernel") if getattr(config, name) == getattr(CacheConfig(), name)]
    if all(len(photos.split(split)) <= config.held_out_photos for split in HELD_OUT):
        named.append("held_out_photos")
    settings = {key: value for key, value in asdict(config).items() if key not in named}
    return {**settings, "through_sha256": through.sha256()} if through else settings


@dataclass(frozen=True)
class _Build:
    """Everything that decides a cache, and where it goes."""

    config: CacheConfig
    photos: PhotoSet
    codec: LatentCodec
    through: LatentCodec | None
    identity: dict[str, Any]
    fingerprint: str
    folder: Path

    @cached_property
    def shards(self) -> list[tuple[str, str, list[Crop]]]:
        """Split, file name and crops of every shard."""
        shards, size = [], self.config.shard_pairs
        for split in get_args(Split):
            crops = self._crops(split)
            if not crops and split != "test":
                raise UserError(
                    f"no {split} photograph in {self.photos.folder} has both sides >= {self.config.crop_px} px: "
                    "bring larger photographs or lower cache.crop_px"
                )
            for number, start in enumerate(range(0, len(crops), size)):
                shards.append((split, f"{split}-{number:05d}.safetensors", crops[start : start + size]))
        return shards

    def _crops(self, split: Split) -> list[Crop]:
        """Return the crops of a split; held-out ones, which only a look at their pixels can choose, are noted once."""
        if split not in HELD_OUT:
            return list(plan_crops(self.photos, split, self.config))
        noted = self.folder / f"plan-{split}.json"
        try:
            return [Crop(*numbers) for numbers in read_json(noted, list)]
        except (UserError, TypeError):  # not there yet, or damaged
            crops = list(plan_crops(self.photos, split, self.config))
        write_json(noted, [astuple(crop) for crop in crops])
        return crops

    def encode(self, shards: Sequence[tuple[str, str, list[Crop]]], ledger: Path) -> None:
        """Encode those of `shards` that are missing, damaged or foreign, and note each in `ledger`."""
        known = self.known()
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(
                f"encoding with {self.codec.source}", total=sum(len(crops) for *_, crops in shards)
            )
            missing = []
            for split, name, crops in shards:
                if name in known and _is_sound(self.folder, known[name], self.fingerprint, self.config.verify):
                    progress.advance(task, len(crops))
                else:
                    missing.append((split, name, crops))
            everything = chain.from_iterable(crops for *_, crops in missing)
            with crop_images(self.photos, everything, self.config) as images:
                for split, name, crops in missing:
                    append_json(ledger, _write_shard(self, name, split, crops, images))
                    progress.advance(task, len(crops))

    def sound(self) -> "PairCache | None":
        """Return the cache when it is closed and every shard of it is sound."""
        try:
            shards = read_json(self.folder / "manifest.json", keys=MANIFEST)["shards"]
        except UserError:  # not closed yet, or damaged
            return None
        sound = all(_is_sound(self.folder, shard, self.fingerprint, self.config.verify) for shard in shards)
        return PairCache(self.folder) if sound else None

    def known(self) -> dict[str, dict[str, Any]]:
        """Return the entries of all shards that any process has written, by file name."""
        ledgers = sorted(self.folder.glob(LEDGERS), key=lambda path: path.stat().st_mtime)
        return {name: entry for path in ledgers for name, entry in _read_ledger(path).items()}


def _read_ledger(path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of a ledger by file name; lines that a kill or a bad disk spoiled count as not written."""
    entries: list[Any] = []
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            entries.append(json.loads(line))
    if path.suffix == ".json":  # of a version that wrote the whole list again after each shard
        with contextlib.suppress(ValueError, RecursionError):
            entries = json.loads(path.read_bytes())
    known = (entry for entry in entries if isinstance(entry, dict) and entry.keys() >= {*ENTRY})
    return {entry["file"]: entry for entry in known}


def _plan(config: CacheConfig, photos: PhotoSet, codec: LatentCodec) -> _Build:
    through = LatentCodec.from_pretrained(config.through).to(codec.device) if config.through else None
    identity = {
        "format": FORMAT,
        "codec_sha256": codec.sha256(),
        "photos_sha256": photos.sha256,
        "settings": settings_of(config, through, photos),
    }
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    folder = Path(config.folder) / f"{Path(codec.source).name}-{fingerprint}"
    folder.mkdir(parents=True, exist_ok=True)
    return _Build(config, photos, codec, through, identity, fingerprint, folder)


def build_part(config: CacheConfig, photos: PhotoSet, codec: LatentCodec, part: int, parts: int) -> Path:
    """Encode every `parts`-th shard of a cache from `part` on; other processes and machines may encode the others.

    `build_cache` then finds all of them encoded, and closes the cache.

    Returns:
        The cache's folder.

    Raises:
        UserError: No photograph of a split is as large as the crop.
    """
    build = _plan(config, photos, codec)
    build.encode(build.shards[part::parts], build.folder / f"shards-{part}-of-{parts}.jsonl")
    return build.folder


def build_cache(config: CacheConfig, photos: PhotoSet, codec: LatentCodec) -> PairCache:
    """Build what is missing of the cache that `config`, `photos` and `codec` determine, and open it.

    Every shard is checked against its recorded checksum first (only its size with `cache.verify=size`); damaged and
    foreign ones are encoded again.

    Raises:
        UserError: No photograph of a split is as large as the crop.
    """
    build = _plan(config, photos, codec)
    if (cache := build.sound()) is not None:
        return cache
    with in_turn(build.folder / "lock"):  # the others wait for the first, and find what it has made
        return build.sound() or _encode_and_close(build)


def _encode_and_close(build: _Build) -> PairCache:
    folder, codec, photos = build.folder, build.codec, build.photos
    build.encode(build.shards, folder / "shards.jsonl")
    known = build.known()
    shards = [known[name] for _, name, _ in build.shards]
    manifest = {
        "fingerprint": build.fingerprint,
        **build.identity,
        "codec": {
            "source": codec.source,
            "revision": codec.revision,
            "sha256": codec.sha256(),
            "channels": codec.channels,
            "downscale": codec.downscale,
        },
        "photos": [photo.file for photo in photos.photos],
        "statistics": _statistics(folder, [shard["file"] for shard in shards if shard["split"] == "train"]),
        "shards": shards,
    }
    write_json(folder / "manifest.json", manifest)
    return PairCache(folder)


def _write_shard(build: _Build, name: str, split: str, crops: list[Crop], images: Iterator[Tensor]) -> dict[str, Any]:
    path, pixels = build.folder / name, split != "train" or build.config.train_pixels
    tensors = encode_images(images, crops, build.codec, build.through, build.config, pixels)
    write_tensors(path, tensors, {"fingerprint": build.fingerprint})
    return {
        "file": path.name,
        "split": split,
        "pairs": len(crops),
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
    }


def _is_sound(folder: Path, entry: dict[str, Any], fingerprint: str, verify: str) -> bool:
    try:
        path = folder / entry["file"]
        if path.stat().st_size != entry["bytes"]:
            return False
        with safe_open(path, framework="pt") as shard:
            if (shard.metadata() or {}).get("fingerprint") != fingerprint:
                return False
        return verify == "size" or file_sha256(path) == entry["sha256"]
    except (OSError, SafetensorError, KeyError, TypeError):  # the last two: of a damaged manifest
        return False


def _statistics(folder: Path, files: list[str]) -> dict[str, list[float]]:
    """Return mean, standard deviation, minimum and maximum of each channel of the HR latents, shard by shard."""
    count, total, squares, low, high = 0, 0.0, 0.0, [], []
    for name in files:
        with safe_open(folder / name, framework="pt") as shard:
            latents = shard.get_tensor("hr").double().transpose(0, 1).flatten(1)
        count += latents.shape[1]
        total, squares = total + latents.sum(1), squares + latents.square().sum(1)
        low.append(latents.amin(1))
        high.append(latents.amax(1))
    mean = torch.as_tensor(total) / count
    deviation = (torch.as_tensor(squares) / count - mean.square()).clamp(min=0).sqrt()
    extremes = {"min": torch.stack(low).amin(0), "max": torch.stack(high).amax(0)}
    return {name: value.tolist() for name, value in {"mean": mean, "std": deviation, **extremes}.items()}

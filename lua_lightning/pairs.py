"""The latent pair cache: HR crops of photographs and their x2 and x4 reductions, encoded once, read by slices.

A cache is a folder of safetensors shards and a `manifest.json`. Its name holds a fingerprint of everything that
determines its content (codec weights, photographs, settings), so a change of any of them is another cache. Shards are
written one at a time and renamed into place; a build that was killed goes on where it stopped, and a shard that is
damaged or belongs to another cache is rebuilt. Several processes or machines may encode it together, each its own part.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch
from filelock import FileLock
from rich.console import Console
from rich.progress import Progress
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lua_lightning.codec import LatentCodec
from lua_lightning.config import CacheConfig
from lua_lightning.crops import dihedral, draw_apart, draw_positions, grid_positions
from lua_lightning.errors import UserError
from lua_lightning.images import downscale, read_image, to_tensor, to_uint8
from lua_lightning.photos import PhotoSet, Split, file_sha256

FORMAT = 1
LEDGERS = "shards*.json"  # what each process has written so far, with checksums
SCALES = (2, 4)


@dataclass(frozen=True)
class Crop:
    """One region of one photograph."""

    photo: int  # index into the photo set's list
    top: int
    left: int
    symmetry: int  # of the square, see `crops.dihedral`


def plan_crops(photos: PhotoSet, split: Split, config: CacheConfig) -> Iterator[Crop]:
    """Yield the crops of `split` in a fixed order; those not trained on are upright and do not overlap."""
    for index, photo in enumerate(photos.photos):
        if photo.split != split or min(photo.width, photo.height) < config.crop_px:
            continue
        if split == "train" and config.sampling == "grid":
            positions = grid_positions(photo.height, photo.width, config.crop_px)
            yield from (Crop(index, top, left, 0) for top, left in positions)
            continue
        image = to_tensor(read_image(photos.path(photo)))
        seed = int(hashlib.sha256(f"{config.seed}{photo.sha256}".encode()).hexdigest()[:12], 16)
        generator = torch.Generator().manual_seed(seed)
        if split == "train":
            positions = draw_positions(image, config.crop_px, config.crops_per_photo, generator)
            symmetries = torch.randint(8, (len(positions),), generator=generator).tolist()
        else:
            positions = draw_apart(image, config.crop_px, config.held_out_crops_per_photo, generator)
            symmetries = [0] * len(positions)
        for (top, left), symmetry in zip(positions, symmetries, strict=True):
            yield Crop(index, top, left, symmetry)


def encode_crops(
    photos: PhotoSet,
    crops: list[Crop],
    codec: LatentCodec,
    through: LatentCodec | None,
    config: CacheConfig,
    pixels: bool,
) -> dict[str, Tensor]:
    """Return the tensors of one shard: `hr`, `lr_x2`, `lr_x4`, `crop` and, with `pixels`, the 8-bit `image`."""
    opened: tuple[int, Tensor] | None = None
    images = []
    for crop in crops:
        if opened is None or opened[0] != crop.photo:
            opened = crop.photo, to_tensor(read_image(photos.path(photos.photos[crop.photo])))
        rows, columns = slice(crop.top, crop.top + config.crop_px), slice(crop.left, crop.left + config.crop_px)
        images.append(dihedral(opened[1][..., rows, columns], crop.symmetry))
    dtype = getattr(torch, config.dtype)
    tensors: dict[str, list[Tensor]] = {"hr": [], "lr_x2": [], "lr_x4": []}
    for image in images:
        tensors["hr"].append(codec.encode(image).to(dtype))
        for scale in SCALES:
            small = downscale(image, scale)
            if through:
                small = through.decode(through.encode(small)).clamp(-1, 1)
            tensors[f"lr_x{scale}"].append(codec.encode(small).to(dtype))
    shard = {name: torch.cat(parts).contiguous() for name, parts in tensors.items()}
    shard["crop"] = torch.tensor([[crop.photo, crop.top, crop.left, crop.symmetry] for crop in crops])
    if pixels:
        shard["image"] = torch.stack([torch.from_numpy(to_uint8(image)).permute(2, 0, 1) for image in images])
    return shard


def write_json(path: Path, content: Any) -> None:
    """Write JSON through a temporary file, so that a kill leaves the old file or the new one."""
    temporary = path.with_suffix(f".tmp{os.getpid()}")  # each process its own: several may build one cache
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)


class PairCache:
    """An opened cache: its manifest, and where its shards are."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = json.loads((folder / "manifest.json").read_text())

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


def settings_of(config: CacheConfig, through: LatentCodec | None) -> dict[str, Any]:
    """Return the settings that determine a cache's content; codecs by their weights, whatever their names."""
    named = ("folder", "codec", "through", "verify")
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
            crops = list(plan_crops(self.photos, split, self.config))
            if not crops and split != "test":
                raise UserError(
                    f"no {split} photograph in {self.photos.folder} has both sides >= {self.config.crop_px} px: "
                    "bring larger photographs or lower cache.crop_px"
                )
            for number, start in enumerate(range(0, len(crops), size)):
                shards.append((split, f"{split}-{number:05d}.safetensors", crops[start : start + size]))
        return shards

    def encode(self, shards: Sequence[tuple[str, str, list[Crop]]], ledger: Path) -> None:
        """Encode those of `shards` that are missing, damaged or foreign, and note each in `ledger`."""
        known, own = self.known(), _read_ledger(ledger)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(
                f"encoding with {self.codec.source}", total=sum(len(crops) for *_, crops in shards)
            )
            for split, name, crops in shards:
                if not (name in known and _is_sound(self.folder, known[name], self.fingerprint, self.config.verify)):
                    own[name] = _write_shard(self, name, split, crops)
                    write_json(ledger, list(own.values()))
                progress.advance(task, len(crops))

    def sound(self) -> "PairCache | None":
        """Return the cache when it is closed and every shard of it is sound."""
        if not (self.folder / "manifest.json").exists():
            return None
        cache = PairCache(self.folder)
        shards = cache.manifest["shards"]
        sound = all(_is_sound(self.folder, shard, self.fingerprint, self.config.verify) for shard in shards)
        return cache if sound else None

    def known(self) -> dict[str, dict[str, Any]]:
        """Return the entries of all shards that any process has written, by file name."""
        ledgers = sorted(self.folder.glob(LEDGERS), key=lambda path: path.stat().st_mtime)
        return {name: entry for path in ledgers for name, entry in _read_ledger(path).items()}


def _read_ledger(path: Path) -> dict[str, dict[str, Any]]:
    return {entry["file"]: entry for entry in json.loads(path.read_text())} if path.exists() else {}


def _plan(config: CacheConfig, photos: PhotoSet, codec: LatentCodec) -> _Build:
    through = LatentCodec.from_pretrained(config.through) if config.through else None
    identity = {
        "format": FORMAT,
        "codec_sha256": codec.sha256(),
        "photos_sha256": photos.sha256,
        "settings": settings_of(config, through),
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
    build.encode(build.shards[part::parts], build.folder / f"shards-{part}-of-{parts}.json")
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
    with FileLock(build.folder / "lock"):  # the others wait for the first, and find what it has made
        return build.sound() or _encode_and_close(build)


def _encode_and_close(build: _Build) -> PairCache:
    folder, codec, photos = build.folder, build.codec, build.photos
    build.encode(build.shards, folder / "shards.json")
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


def _write_shard(build: _Build, name: str, split: str, crops: list[Crop]) -> dict[str, Any]:
    path, pixels = build.folder / name, split != "train" or build.config.train_pixels
    tensors = encode_crops(build.photos, crops, build.codec, build.through, build.config, pixels=pixels)
    temporary = path.with_suffix(f".tmp{os.getpid()}")
    save_file(tensors, temporary, metadata={"fingerprint": build.fingerprint})
    temporary.replace(path)
    return {
        "file": path.name,
        "split": split,
        "pairs": len(crops),
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
    }


def _is_sound(folder: Path, entry: dict[str, Any], fingerprint: str, verify: str) -> bool:
    path = folder / entry["file"]
    try:
        if path.stat().st_size != entry["bytes"]:
            return False
        with safe_open(path, framework="pt") as shard:
            if (shard.metadata() or {}).get("fingerprint") != fingerprint:
                return False
    except (OSError, SafetensorError):
        return False
    return verify == "size" or file_sha256(path) == entry["sha256"]


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


class PairDataset(Dataset[dict[str, Any]]):
    """Latent pairs of one split.

    With `crop` (training) an item is one random patch: `dataset[n]` is the n-th sample of an endless shuffled stream,
    a pure function of `n` and `seed`, so that any process can go on from any sample. Without `crop` (validation and
    test) `dataset[n]` is the n-th whole pair.

    An item holds `hr` (C, h, h), `lr_x2` (C, h/2, h/2), `lr_x4` (C, h/4, h/4) as float32 normalised latents, `photo`
    (index into `PairCache.photo_names`), `sample` (n) and, but for training pairs without `cache.train_pixels`, `image`
    (3, 8h, 8h) in [-1, 1].

    Raises:
        UserError: The split is empty (a set of two photographs has no `test`), or `crop` does not fit the latents.
    """

    def __init__(self, cache: PairCache, split: str, crop: int | None = None, seed: int = 0):
        self.cache, self.crop, self.seed = cache, crop, seed
        self.entries = [(shard["file"], row) for shard in cache.shards(split) for row in range(shard["pairs"])]
        if not self.entries:
            raise UserError(
                f"{cache.folder} has no {split} pairs, since no {split} photograph has both sides >= "
                f"{cache.manifest['settings']['crop_px']} px: bring more photographs, or lower cache.crop_px"
            )
        self.pixels = split != "train" or cache.manifest["settings"]["train_pixels"]
        self.downscale = cache.manifest["codec"]["downscale"]
        side = cache.manifest["settings"]["crop_px"] // self.downscale
        if crop is not None and (crop > side or crop % max(SCALES)):
            raise UserError(
                f"train.crop_latents={crop} must be a multiple of {max(SCALES)} and at most {side}, "
                f"the side of the latents in {cache.folder}"
            )
        self.side = side
        self._opened: dict[str, Any] = {}
        self._shuffled: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def _slice(self, file: str, name: str) -> Any:
        if file not in self._opened:  # opened lazily, in the process that reads
            self._opened[file] = safe_open(self.cache.folder / file, framework="pt")
        return self._opened[file].get_slice(name)

    def _order(self, epoch: int) -> Tensor:
        if self._shuffled is None or self._shuffled[0] != epoch:
            draw = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._shuffled = epoch, torch.randperm(len(self), generator=draw)
        return self._shuffled[1]

    def __getitem__(self, n: int) -> dict[str, Any]:
        if self.crop is None:
            (file, row), top, left, side = self.entries[n], 0, 0, self.side
        else:
            epoch, position = divmod(n, len(self))
            file, row = self.entries[int(self._order(epoch)[position])]
            step = max(SCALES)
            draw = torch.Generator().manual_seed(self.seed * 1_000_003 + n + 2**40)
            top, left = (torch.randint((self.side - self.crop) // step + 1, (2,), generator=draw) * step).tolist()
            side = self.crop
        item: dict[str, Any] = {"sample": n}
        for name, scale in (("hr", 1), ("lr_x2", 2), ("lr_x4", 4)):
            rows, columns = (slice(start // scale, (start + side) // scale) for start in (top, left))
            item[name] = self._slice(file, name)[row, :, rows, columns].float()
        item["photo"] = int(self._slice(file, "crop")[row, 0])
        if self.pixels:
            rows, columns = (slice(start * self.downscale, (start + side) * self.downscale) for start in (top, left))
            item["image"] = self._slice(file, "image")[row, :, rows, columns].float() / 127.5 - 1
        return item

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}


class StreamSampler(Sampler[int]):
    """Sample numbers start, start + 1, ... of an endless stream, dealt out to processes in turn.

    Its length is that of the whole stream from 0 to `stop`, wherever it starts, because Lightning counts the batches of
    an interrupted epoch from its beginning.
    """

    def __init__(self, start: int, stop: int, rank: int = 0, world_size: int = 1):
        self.start, self.stop, self.rank, self.world_size = start, stop, rank, world_size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start + self.rank, self.stop, self.world_size))

    def __len__(self) -> int:
        return self.stop // self.world_size

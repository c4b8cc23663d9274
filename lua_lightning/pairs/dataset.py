"""The pair cache as a PyTorch data set, and the sampler that makes its stream resumable."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lua_lightning.errors import UserError
from lua_lightning.pairs.cache import PairCache
from lua_lightning.pairs.encoding import SCALES

OPEN_SHARDS = 256  # by each process that reads; a system may allow no more than 65,530 mapped files in one


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
        shards = cache.shards(split)
        # One number a shard, not one object a pair: each worker has a copy of it.
        self._files = [shard["file"] for shard in shards]
        self._ends = list(accumulate(shard["pairs"] for shard in shards))
        if not len(self):
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
        self._opened: OrderedDict[str, Any] = OrderedDict()
        self._shuffled: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def place(self, pair: int) -> tuple[str, int]:
        """Return the file that holds a pair, and its row there."""
        shard = bisect_right(self._ends, pair)
        return self._files[shard], pair - (self._ends[shard - 1] if shard else 0)

    def _slice(self, file: str, name: str) -> Any:
        if file not in self._opened:  # opened lazily, in the process that reads
            if len(self._opened) == OPEN_SHARDS:
                self._opened.popitem(last=False)
            self._opened[file] = safe_open(self.cache.folder / file, framework="pt")
        self._opened.move_to_end(file)
        return self._opened[file].get_slice(name)

    def _order(self, epoch: int) -> Tensor:
        if self._shuffled is None or self._shuffled[0] != epoch:
            draw = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._shuffled = epoch, torch.randperm(len(self), generator=draw)
        return self._shuffled[1]

    def __getitem__(self, n: int) -> dict[str, Any]:
        if self.crop is None:
            (file, row), top, left, side = self.place(n), 0, 0, self.side
        else:
            epoch, position = divmod(n, len(self))
            file, row = self.place(int(self._order(epoch)[position]))
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
        return {**self.__dict__, "_opened": OrderedDict(), "_shuffled": None}


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


class HeldOutSampler(Sampler[int]):
    """Every one of `count` samples, dealt out to processes in turn, the same number to each.

    Where they cannot be dealt evenly, some are repeated: a process without samples would not take part in what all
    processes do together. Whoever gathers the scores keeps one of each sample.
    """

    def __init__(self, count: int, rank: int = 0, world_size: int = 1):
        self.count, self.rank, self.world_size = count, rank, world_size

    def __iter__(self) -> Iterator[int]:
        return iter((self.rank + turn * self.world_size) % self.count for turn in range(len(self)))

    def __len__(self) -> int:
        return -(-self.count // self.world_size)

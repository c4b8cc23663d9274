"""Lightning data: the pair cache built once, then read as a resumable stream."""

from pathlib import Path

import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader

from lua_lightning.config import RunConfig
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.cache import PairCache, build_cache
from lua_lightning.pairs.dataset import HeldOutSampler, PairDataset, StreamSampler
from lua_lightning.pairs.photos import PhotoSet

VALIDATION_BATCH = 4  # whole crops, decoded at full size


class PairDataModule(L.LightningDataModule):
    """Training patches and validation crops of one pair cache."""

    def __init__(self, config: RunConfig, codec: LatentCodec):
        super().__init__()
        self.config, self.codec = config, codec
        self.cache: PairCache

    def prepare_data(self) -> None:
        """Build what is missing of the cache, on one process of each node."""
        self.cache = self._build()

    def setup(self, stage: str) -> None:
        """Open the cache and its datasets, on every process."""
        if not hasattr(self, "cache"):
            self.cache = self._build()
        self.cache.check_fits(self.codec)
        config = self.config
        self.train_pairs = PairDataset(self.cache, "train", config.train.crop_latents, config.seed)
        self.val_pairs = PairDataset(self.cache, "val")

    def _build(self) -> PairCache:
        if self.trainer:
            self.codec.to(self.trainer.strategy.root_device)
        return build_cache(self.config.cache, PhotoSet.load(Path(self.config.data.photos)), self.codec)

    def _world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> DataLoader:
        """Return the rest of the stream, from the step that the trainer has reached."""
        settings = self.config.train
        rank, world_size = self._world()
        per_step = settings.batch_size * settings.accumulate * world_size
        done = self.trainer.global_step if self.trainer else 0
        sampler = StreamSampler(done * per_step, settings.steps * per_step, rank, world_size)
        return DataLoader(
            self.train_pairs,
            batch_size=settings.batch_size,
            sampler=sampler,
            num_workers=settings.workers,
            persistent_workers=settings.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader:
        """Return every held-out crop over all processes, some twice where they cannot be dealt evenly."""
        sampler = HeldOutSampler(len(self.val_pairs), *self._world())
        return DataLoader(self.val_pairs, batch_size=VALIDATION_BATCH, sampler=sampler)

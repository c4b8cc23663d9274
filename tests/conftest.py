"""Small real things that many tests share: photographs, an autoencoder, a cache."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lua_lightning.config import CacheConfig
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.patch_autoencoder import PatchAutoencoder, PatchAutoencoderConfig
from lua_lightning.pairs.cache import build_cache
from lua_lightning.pairs.photos import PhotoSet, file_sha256

# Paths in tests are relative to the checkout, wherever pytest was started.
os.chdir(Path(__file__).parents[1])

# Small tensors gain nothing from more threads, and on a busy machine the threads only wait for each other.
torch.set_num_threads(1)


SMALL = [
    "train.batch_size=2",
    "train.crop_latents=8",
    "train.decode_latents=4",
    "train.decode_margin=1",
    "train.log_every=1",
    "train.checkpoint_every=2",
    "train.precision=32-true",
    "validation.image_keys=1",
    "optim.warmup_steps=2",
    "tracking.system_metrics=false",
]


def write_photo_set(folder: Path, splits: list[str], size: int = 128) -> Path:
    """Write seeded smooth-plus-noise images and the manifest that describes them."""
    (folder / "images").mkdir(parents=True)
    images = []
    for index, split in enumerate(splits):
        random = np.random.default_rng(index)
        coarse = Image.fromarray(random.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=float)
        pixels = (smooth + random.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)
        path = folder / "images" / f"{index}.png"
        Image.fromarray(pixels).save(path)
        images.append(
            {
                "file": f"images/{index}.png",
                "source": f"test:{index}",
                "licence": "CC0-1.0",
                "author": None,
                "sha256": file_sha256(path),
                "source_sha256": file_sha256(path),
                "width": size,
                "height": size,
                "split": split,
                "reduced_by": 1.0,
                "softness": 30.0,
            }
        )
    manifest = {"format_version": 1, "recipe": "test", "settings": {}, "images": images, "skipped": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory) -> Path:
    return write_photo_set(tmp_path_factory.mktemp("photos") / "set", ["train"] * 4 + ["val"] * 2 + ["test"])


def write_codec(folder: Path) -> Path:
    """Write a small patch autoencoder with random, non-trivial weights."""
    torch.manual_seed(0)
    config = PatchAutoencoderConfig(
        latent_channels=4, width=8, encoder_blocks=1, decoder_blocks=1, scaling_factor=0.7, shift_factor=0.2
    )
    model = PatchAutoencoder(config)
    model.set_linear_code(torch.randn(2000, 192) * torch.linspace(1, 0.01, 192))
    for network in (model.encoder, model.decoder):
        torch.nn.init.normal_(network[-1].weight, std=0.02)
    model.save_pretrained(folder, torch.float32)
    return folder


@pytest.fixture(scope="session")
def codec_folder(tmp_path_factory) -> Path:
    return write_codec(tmp_path_factory.mktemp("codec") / "patch")


@pytest.fixture(scope="session")
def codec(codec_folder) -> LatentCodec:
    return LatentCodec.from_pretrained(codec_folder)


@pytest.fixture(scope="session")
def cache_config(tmp_path_factory) -> CacheConfig:
    return CacheConfig(
        folder=str(tmp_path_factory.mktemp("cache")),
        crop_px=64,
        crops_per_photo=3,
        held_out_crops_per_photo=2,
        shard_pairs=5,
        dtype="float32",
    )


@pytest.fixture(scope="session")
def cache(cache_config, photo_folder, codec):
    return build_cache(cache_config, PhotoSet.load(photo_folder), codec)


@pytest.fixture
def settings(tmp_path, photo_folder, codec_folder, cache_config, monkeypatch) -> list[str]:
    """Settings of a training that takes a second a step or less, recorded in a database of the test's own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    cache = dataclasses.asdict(dataclasses.replace(cache_config, codec=str(codec_folder)))
    return [
        *SMALL,
        f"runs={tmp_path / 'runs'}",
        f"data.photos={photo_folder}",
        *(f"cache.{name}={value}" for name, value in cache.items() if value is not None),
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest, so that no process has it alone at the end."""
    items.sort(key=lambda item: item.path.name != "test_ddp.py")

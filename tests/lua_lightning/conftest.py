"""What tests of whole trainings share."""

import dataclasses

import pytest

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


@pytest.fixture
def settings(tmp_path, photo_folder, codec_folder, cache_config, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    cache = dataclasses.asdict(dataclasses.replace(cache_config, codec=str(codec_folder)))
    return [
        *SMALL,
        f"runs={tmp_path / 'runs'}",
        f"data.photos={photo_folder}",
        *(f"cache.{name}={value}" for name, value in cache.items() if value is not None),
    ]

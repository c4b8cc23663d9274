"""Moving an adapter to another autoencoder, of every real class."""

import json
from pathlib import Path

import pytest

from lua_lightning.config import RunConfig, load_config
from lua_lightning.errors import UserError
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.training.train import train
from tests.lua_lightning.models.autoencoders import KINDS, build


@pytest.fixture
def adapter_folder(tmp_path):
    """An adapter of 16 channels, whose trunk and heads are recognisable."""
    adapter = LatentUpscaler(AdapterConfig.sized("tiny", channels=16, codec="flux", skip="linear"))
    adapter.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def transfer_config(tmp_path, photo_folder, adapter_folder, codec_folder, *more):
    return load_config(
        RunConfig,
        Path("experiments/transfer.yaml"),
        [
            f"runs={tmp_path / 'runs'}",
            f"data.photos={photo_folder}",
            f"cache.folder={tmp_path / 'cache'}",
            f"cache.codec={codec_folder}",
            "cache.crop_px=64",
            "cache.crops_per_photo=1",
            "cache.held_out_crops_per_photo=1",
            f"adapter.init_from={adapter_folder}",
            "train.steps=2",
            "train.batch_size=2",
            "train.crop_latents=8",
            "train.decode_latents=4",
            "train.decode_margin=0",
            "train.precision=32-true",
            "validation.every=2",
            "validation.image_keys=1",
            "optim.warmup_steps=1",
            "tracking.system_metrics=false",
            *more,
        ],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_moves_to_every_kind_of_autoencoder(kind, tmp_path, photo_folder, adapter_folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    model = build(kind)
    model.save_pretrained(tmp_path / "vae")
    config = transfer_config(tmp_path, photo_folder, adapter_folder, tmp_path / "vae")
    results = train(config)
    moved = LatentUpscaler.from_pretrained(results["adapter"])
    assert moved.config.channels == model.config.latent_channels
    assert moved.config.codec == str(tmp_path / "vae")
    assert moved.config.space == "normalised"
    trunk = "layers.0.residual_group.blocks.0.attn.qkv.weight"
    before, after = LatentUpscaler.from_pretrained(adapter_folder).state_dict()[trunk], moved.state_dict()[trunk]
    assert 0 < (before - after).abs().max() < 0.01  # the trunk is the old one, two small steps further
    (record,) = json.loads(Path(results["adapter"], "history.json").read_text())
    assert record["stage"] == "transfer"


def test_without_transfer_other_channels_are_refused(tmp_path, photo_folder, adapter_folder, codec_folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    config = transfer_config(tmp_path, photo_folder, adapter_folder, codec_folder, "adapter.transfer=false")
    with pytest.raises(UserError, match=r"16 normalised channels, but .* has 4 .* set adapter.transfer=true"):
        train(config)

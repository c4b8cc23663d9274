"""Fixtures of whole trainings."""

import pytest
import torch

from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler


@pytest.fixture
def start(tmp_path, codec):
    """An adapter to start stages II and III from."""
    torch.manual_seed(0)
    model = LatentUpscaler(AdapterConfig.sized("tiny", channels=codec.channels, codec=codec.source, skip="linear"))
    model.save_pretrained(tmp_path / "start")
    return f"adapter.init_from={tmp_path / 'start'}"

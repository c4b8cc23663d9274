"""Small adapters to export, and their exports."""

import json
from pathlib import Path

import pytest

from lua_lightning.cli import main
from tests.lua_lightning.models.adapters import small_adapter

TINY = {"channels": 4, "embed_dim": 12, "depths": (2,), "num_heads": 2, "window_size": 4, "head_dim": 8}


def export(capsys, *arguments: object) -> dict:
    """Run the command and return what its line of JSON says."""
    assert main(["export", *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, codec_folder) -> Path:
    """The folder of an adapter for the small random autoencoder, with every part that a network can have."""
    folder = tmp_path_factory.mktemp("adapters") / "tiny"
    ranges = tuple((-3.0 - channel, 3.0 + channel) for channel in range(4))
    adapter = small_adapter(**TINY, skip="linear", latent_range=ranges, residual_bound=0.5, codec=str(codec_folder))
    for skip in adapter.skips.children():
        skip.conv.weight.data.normal_(std=0.02)
    adapter.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# tiny\n\nTrained on nothing.\n")
    return folder

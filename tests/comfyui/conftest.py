"""The nodes of the pack among stand-ins, and small adapters for them."""

import asyncio

import pytest
import torch

from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from tests.comfyui.standins import ProgressBar, load_pack

SETTINGS = {
    "target": "scale", "scale": 2.0, "width": 64, "height": 64, "megapixels": 1.0, "fit": "inside", "tile": 0,
}  # fmt: skip


def adapter(codec: str | None = None, space: str = "normalised", channels: int = 4, **settings) -> LatentUpscaler:
    torch.manual_seed(0)
    sizes = {"embed_dim": 16, "depths": (2,), "num_heads": 2, "window_size": 4, "head_dim": 8}
    config = AdapterConfig.from_dict({**sizes, "channels": channels, "codec": codec, "space": space, **settings})
    model = LatentUpscaler(config)
    for head in model.heads.children():
        torch.nn.init.normal_(head.conv_last.weight, std=0.05)
    return model.eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "latent_upscale_models"
    folder.mkdir()
    return folder


@pytest.fixture
def nodes(models, monkeypatch):
    """The nodes by their ids, as the extension lists them."""
    ProgressBar.made.clear()
    pack = load_pack(models, monkeypatch)
    found = asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())
    return {node.define_schema().node_id: node for node in found}


@pytest.fixture
def run(nodes, models):
    """Load a file and enlarge latents with it."""

    def enlarge(name, samples, model=None, **settings):
        (loaded,) = nodes["LuaLoad"].execute(name).values
        given = samples if isinstance(samples, dict) else {"samples": samples}
        return nodes["LuaUpscaleLatent"].execute(loaded, given, **{**SETTINGS, **settings}, model=model).values

    return enlarge

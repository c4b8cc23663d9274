"""Adapters in files: the network that a file of `models/latent_upscale_models` holds, and what it was trained on."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .network import UpscalerNetwork

CONFIG_KEY, LATENTS_KEY = "lua_config", "lua_latents"  # of the header of a safetensors file
SETTINGS = (
    *("channels", "embed_dim", "depths", "num_heads", "window_size", "mlp_ratio", "head_dim", "scales", "skip"),
    *("latent_range", "residual_bound"),
)
COMPUTED = ("attn_mask", "relative_position_index")  # buffers of published files that the network computes


@dataclass
class Adapter:
    """A loaded adapter."""

    name: str
    patcher: Any
    """ComfyUI's handle of the network, which says where it computes."""
    network: UpscalerNetwork
    space: str
    codec: str | None
    downscale: int
    """Pixels per latent along a side."""
    factors: dict | None
    """How its latents are normalised, where the file says so."""


def describe(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> tuple[dict, dict | None]:
    """Return an adapter's configuration and its latents' factors: from the header, `config.json`, or the tensors.

    Raises:
        ValueError: The file holds no adapter.
    """
    header = metadata or {}
    if CONFIG_KEY in header:
        factors = json.loads(header[LATENTS_KEY]) if LATENTS_KEY in header else None
        return json.loads(header[CONFIG_KEY]), factors
    beside = path.with_name("config.json")
    if beside.is_file():
        config = json.loads(beside.read_text(encoding="utf-8"))
        if "embed_dim" in config and "scales" in config:
            return config, config.get("latents")
    if "conv_first.weight" in tensors and any(name.startswith("heads.x") for name in tensors):
        return published(tensors), None
    raise ValueError(
        f"{path.name} holds no LUA adapter: take a file of `lua-lightning export`, a folder with its config.json, or "
        "lua_flux.pth (other upscalers have ComfyUI's own node, Load Latent Upscale Model)"
    )


def published(tensors: Mapping[str, Tensor]) -> dict:
    """Return the configuration of the authors' bare weights (FLUX.1, raw latents), read off names and shapes."""
    depths: dict[int, int] = {}
    for name in tensors:
        found = re.match(r"layers\.(\d+)\.residual_group\.blocks\.(\d+)\.", name)
        if found:
            group, block = int(found[1]), int(found[2])
            depths[group] = max(depths.get(group, 0), block + 1)
    first = "layers.0.residual_group.blocks.0."
    table = tensors[f"{first}attn.relative_position_bias_table"]
    embed_dim, channels = tensors["conv_first.weight"].shape[:2]
    scales = sorted({int(name.split(".")[1][1:]) for name in tensors if name.startswith("heads.x")})
    return {
        "channels": channels,
        "embed_dim": embed_dim,
        "depths": [depths[group] for group in sorted(depths)],
        "num_heads": table.shape[1],
        "window_size": (round(table.shape[0] ** 0.5) + 1) // 2,
        "mlp_ratio": tensors[f"{first}mlp.fc1.weight"].shape[0] / embed_dim,
        "head_dim": tensors[f"heads.x{scales[0]}.conv_before.0.weight"].shape[0],
        "scales": scales,
        "skip": "none",
        "space": "raw",
        "codec": "flux",
    }


def build(name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> UpscalerNetwork:
    """Return the network with its weights.

    Raises:
        ValueError: The head is of another kind, or the tensors are too many, too few or of other shapes.
    """
    if config.get("head", "pixelshuffle") != "pixelshuffle":
        raise ValueError(f"{name} has a {config['head']} head, which this node pack cannot compute")
    with torch.device("meta"):
        network = UpscalerNetwork(**{key: config[key] for key in SETTINGS if key in config})
    weights = {key: value for key, value in tensors.items() if key.rpartition(".")[2] not in COMPUTED}
    expected = network.state_dict()
    wrong = expected.keys() ^ weights.keys()
    wrong |= {key for key in expected.keys() & weights.keys() if expected[key].shape != weights[key].shape}
    if wrong:
        raise ValueError(f"{name} does not fit its configuration: {len(wrong)} tensors differ, such as {min(wrong)}")
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)

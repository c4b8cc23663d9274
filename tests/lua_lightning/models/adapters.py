"""Small adapters, and files in the layout of the authors' release, built on spandrel's SwinIR."""

import torch
from spandrel.architectures.SwinIR import SwinIR as SpandrelSwinIR
from torch import Tensor

from lua_lightning.models.adapter import SIZES, AdapterConfig, LatentUpscaler

SMALL = {"embed_dim": 24, "depths": (2, 3), "num_heads": 3, "window_size": 4, "head_dim": 12}
PAPER = SIZES["paper"]


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small_adapter(**settings: object) -> LatentUpscaler:
    """Return an adapter whose last layers are non-zero, so that everything shows in its output."""
    torch.manual_seed(0)
    model = LatentUpscaler(AdapterConfig(**{**SMALL, **settings}))
    for head in model.heads.children():
        torch.nn.init.normal_(head.conv_last.weight, std=0.05)
    return model


def spandrel_trunk(sizes: dict, spread: float = 0.03) -> SpandrelSwinIR:
    """Return spandrel's SwinIR on 16 channels with every parameter random; its trunk is the adapter's."""
    count = len(sizes["depths"])
    trunk = SpandrelSwinIR(
        img_size=4 * sizes["window_size"],
        in_chans=16,
        embed_dim=sizes["embed_dim"],
        depths=list(sizes["depths"]),
        num_heads=[sizes["num_heads"]] * count,
        window_size=sizes["window_size"],
        mlp_ratio=2.0,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            wide = 0.5 if name.endswith("relative_position_bias_table") else spread
            parameter += wide * torch.randn(parameter.shape, generator=generator)
    return trunk.eval()


def authors_weights(trunk: SpandrelSwinIR, sizes: dict) -> dict[str, Tensor]:
    """Return weights by the names in the authors' file: the trunk's (buffers too) and random heads."""
    weights = {name: tensor for name, tensor in trunk.state_dict().items() if not name.startswith("conv_last")}
    embed_dim, width = sizes["embed_dim"], sizes["head_dim"]
    for scale, steps in ((2, 1), (4, 2)):
        layers = [("conv_before.0", embed_dim, width)]
        layers += [(f"upsample.{2 * step}", width, 4 * width) for step in range(steps)] + [("conv_last", width, 16)]
        for seed, (layer, fan_in, fan_out) in enumerate(layers):
            weights[f"heads.x{scale}.{layer}.weight"] = noise(fan_out, fan_in, 3, 3, seed=seed) / (9 * fan_in) ** 0.5
            weights[f"heads.x{scale}.{layer}.bias"] = 0.1 * noise(fan_out, seed=seed + 10)
    return weights

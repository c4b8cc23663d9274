"""DISTS: structure and texture of VGG-16 features, which forgives a texture that is drawn anew."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lua_lightning.evaluation.registry import NETWORKS

LEVELS = (3, 64, 128, 256, 512, 512)  # channels of the image and of the features compared
ENDS = (4, 9, 16, 23, 30)  # layers of torchvision's VGG-16 where each level ends
SMALL = 1e-6  # keeps the ratios finite where features are zero
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Dists(nn.Module):
    """The distance of arXiv 2004.07728: 1 less the weighted similarities of means and of correlations.

    Args:
        layers: The feature layers of torchvision's VGG-16.
        alpha: Learned weights of the means, (sum of `LEVELS`,).
        beta: Learned weights of the correlations, likewise.
    """

    def __init__(self, layers: nn.Sequential, alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.alpha: Tensor
        self.beta: Tensor
        begins = (0, *ENDS[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(*[_l2_pool(layer) for layer in list(layers)[begin:end]])
            for begin, end in zip(begins, ENDS, strict=True)
        )
        total = alpha.sum() + beta.sum()
        self.register_buffer("alpha", alpha.flatten() / total)
        self.register_buffer("beta", beta.flatten() / total)

    def _features(self, images: Tensor) -> list[Tensor]:
        found = [images]
        hidden = (images - images.new_tensor(MEAN)[:, None, None]) / images.new_tensor(DEVIATION)[:, None, None]
        for stage in self.stages:
            hidden = stage(hidden)
            found.append(hidden)
        return found

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the distance of each pair, (N,), of images (N, 3, H, W) in [-1, 1]."""
        luminance, structure = [], []
        pairs = zip(self._features(images / 2 + 0.5), self._features(targets / 2 + 0.5), strict=True)
        for ours, theirs in pairs:
            one, other = ours.mean((2, 3)), theirs.mean((2, 3))
            luminance.append((2 * one * other + SMALL) / (one**2 + other**2 + SMALL))
            spread = ours.var((2, 3), correction=0) + theirs.var((2, 3), correction=0)
            common = (ours * theirs).mean((2, 3)) - one * other
            structure.append((2 * common + SMALL) / (spread + SMALL))
        return 1 - torch.cat(luminance, 1) @ self.alpha - torch.cat(structure, 1) @ self.beta


class L2Pool(nn.Module):
    """Half the size by a smoothed root of mean squares, which loses no energy between the pixels it leaves out."""

    def forward(self, features: Tensor) -> Tensor:
        window = torch.hann_window(5, periodic=False, dtype=features.dtype, device=features.device)[1:-1]
        kernel = torch.outer(window, window) / window.sum() ** 2
        kernel = kernel.expand(features.shape[1], 1, 3, 3)
        return (F.conv2d(features.square(), kernel, stride=2, padding=1, groups=len(kernel)) + 1e-12).sqrt()


def _l2_pool(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.MaxPool2d):
        return L2Pool()
    return nn.ReLU() if isinstance(layer, nn.ReLU) else layer


def dists(backbone: Path | None = None) -> nn.Module:
    """Return the network, with its learned weights from the package DISTS_pytorch and torchvision's VGG-16 weights.

    Args:
        backbone: File of the VGG-16 weights; torch's own download folder by default. Nothing is downloaded.

    Raises:
        UserError: The package or the weights are not there.
    """
    path: Any = NETWORKS["vgg-l2"].require(backbone)
    spec: Any = find_spec("DISTS_pytorch")
    learned = torch.load(Path(spec.origin).parent / "weights.pt", map_location="cpu", weights_only=True)
    layers = feature_layers("vgg16", path)
    return Dists(layers, learned["alpha"], learned["beta"]).eval().requires_grad_(False)


def feature_layers(model: str, weights: Path) -> nn.Sequential:
    """Return the feature layers of torchvision's `model` with their weights from its file; its classifier is left."""
    from torchvision import models

    with torch.device("meta"):
        layers: nn.Sequential = getattr(models, model)().features
    state = torch.load(weights, map_location="cpu", weights_only=True)
    state = {name.removeprefix("features."): values for name, values in state.items() if name.startswith("features.")}
    layers.load_state_dict(state, assign=True)
    return layers

"""Feature networks that transformers loads from a local folder or from the hub's cache: DINOv2 and CLIP's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lua_lightning.documents import read_json
from lua_lightning.errors import UserError
from lua_lightning.evaluation.features import FeatureNetwork
from lua_lightning.evaluation.registry import NETWORKS
from lua_lightning.pairs.photos import file_sha256

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OPENAI = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
DINOV2 = {"hidden_size": 1024, "num_hidden_layers": 24, "patch_size": 14}  # what the metric's name says
CLIP = {"hidden_size": 1024, "num_hidden_layers": 24, "patch_size": 14, "image_size": 336}


def dinov2(folder: Path | None = None, device: str = "cpu") -> FeatureNetwork:
    """Return DINOv2 ViT-L/14 at 224 px: the class token after the last normalisation, 1,024 numbers.

    Args:
        folder: Of `config.json` and weights, as transformers writes them; by default `facebook/dinov2-large` in the
            hub's cache. Nothing is downloaded.
        device: Where it runs.

    Raises:
        UserError: The weights are not there, or are those of another network.
    """
    from transformers import Dinov2Config, Dinov2Model

    weights = _weights("dinov2-vitl14", folder, Dinov2Config, DINOV2)
    network: Any = Dinov2Model.from_pretrained(weights.parent, local_files_only=True)
    network = network.eval().float().to(device)  # transformers keeps the precision of the file

    def features(images: Tensor) -> Tensor:
        return network(normalised(images, *IMAGENET)).last_hidden_state[:, 0].float()

    return FeatureNetwork("dinov2-vitl14", 224, features, file_sha256(weights), device)


def clip_image(folder: Path | None = None, device: str = "cpu") -> FeatureNetwork:
    """Return the image half of CLIP ViT-L/14 at 336 px: embeddings of unit length, 768 numbers.

    Args:
        folder: As that of `dinov2`; by default `openai/clip-vit-large-patch14-336` in the hub's cache.
        device: Where it runs.

    Raises:
        UserError: The weights are not there, or are those of another network.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    weights = _weights("clip-vitl14-336", folder, CLIPVisionConfig, CLIP)
    network: Any = CLIPVisionModelWithProjection.from_pretrained(weights.parent, local_files_only=True)
    network = network.eval().float().to(device)  # transformers keeps the precision of the file
    side = int(network.config.image_size)

    def features(images: Tensor) -> Tensor:
        return F.normalize(network(normalised(images, *OPENAI)).image_embeds.float(), dim=1)

    return FeatureNetwork("clip-vitl14-336", side, features, file_sha256(weights), device)


def normalised(images: Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """Return images (N, 3, H, W) in [0, 255] as a network was trained on them, of mean 0 and deviation 1."""
    shape = (3, 1, 1)
    return (images.float() / 255 - images.new_tensor(mean).view(shape)) / images.new_tensor(deviation).view(shape)


def _weights(name: str, folder: Path | None, config: type, expected: Mapping[str, int]) -> Path:
    """Return the file of the weights, whose configuration is that of the network that the metric names."""
    path: Any = NETWORKS[name].require(folder)
    read_json(path.parent / "config.json", dict)  # whether it is one at all
    found: Any = config.from_pretrained(path.parent, local_files_only=True)  # pyright: ignore
    for key, value in expected.items():
        if getattr(found, key) != value:
            raise UserError(
                f"{path.parent} is not {NETWORKS[name].label}: its {key} is {getattr(found, key)} in place of {value}; "
                "give the folder of that network"
            )
    return path

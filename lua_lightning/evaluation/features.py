"""Feature networks of the distribution metrics, and features extracted once per image set and kept by content."""

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from cleanfid.resize import make_resizer
from PIL import Image
from torch import Tensor

from lua_lightning.errors import UserError
from lua_lightning.evaluation.perceptual import efficientnet_lite0
from lua_lightning.evaluation.registry import CLIP_MODEL, INCEPTION_FILE, NETWORKS
from lua_lightning.files import replacing
from lua_lightning.images import read_image
from lua_lightning.models.pretrained import state_dict_sha256
from lua_lightning.pairs.photos import file_sha256

BATCH = 16  # images at once


@dataclass(frozen=True)
class FeatureNetwork:
    """A frozen network that turns images into vectors.

    Attributes:
        name: As it stands in a metric's name.
        side: Pixels that images are resized to by clean-fid's antialiased bicubic filter, without rounding to 8 bits.
        features: Maps (N, 3, side, side) in [0, 255], on its device, to (N, D).
        sha256: Of its weights.
        device: Where it runs.
    """

    name: str
    side: int
    features: Callable[[Tensor], Tensor]
    sha256: str
    device: str = "cpu"

    @torch.no_grad()
    def __call__(self, images: Iterable[np.ndarray], batch: int = BATCH) -> np.ndarray:
        """Return the features (N, D), float64, of uint8 images (H, W, 3) of any size."""
        resize = make_resizer("PIL", False, "bicubic", (self.side, self.side))
        sized = (torch.from_numpy(resize(image)).permute(2, 0, 1) for image in images)
        with exact_float32():
            outputs = [self.features(torch.stack(chunk).to(self.device)).cpu() for chunk in batches(sized, batch)]
        return torch.cat(outputs).double().numpy()


Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield `items` in lists of `size`; the last may be shorter."""
    waiting = iter(items)
    while batch := list(itertools.islice(waiting, size)):
        yield batch


@contextmanager
def exact_float32() -> Iterator[None]:
    """Switch off TF32 in convolutions, so that a GPU gives the CPU's features to within rounding."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
        yield


def effnet_lite0(device: str = "cpu") -> FeatureNetwork:
    """Return EfficientNet-Lite0: its last features, averaged over the image; 320 numbers.

    Args:
        device: Where it runs.

    Raises:
        UserError: Its packages are not installed.
    """
    network = efficientnet_lite0().eval()
    sha256 = state_dict_sha256(network.state_dict())
    network.to(device)

    def features(images: Tensor) -> Tensor:
        return network((images - 127) / 128)[-1].mean((2, 3))

    return FeatureNetwork("effnet-lite0", 224, features, sha256, device)


def inception(weights: Path | None = None, device: str = "cpu") -> FeatureNetwork:
    """Return clean-fid's Inception; 2,048 numbers. Nothing is downloaded.

    Args:
        weights: The file; by default `inception-2015-12-05.pt` in `~/.cache/lua-lightning`.
        device: Where it runs.

    Raises:
        UserError: The file is not there.
    """
    path: Any = NETWORKS["inception"].require(weights)
    from cleanfid.inception_torchscript import InceptionV3W

    folder = path.parent
    if path.name != INCEPTION_FILE:
        raise UserError(f"{path} must be called {INCEPTION_FILE}, the name that clean-fid looks for")
    network = InceptionV3W(str(folder), download=False).to(device)
    return FeatureNetwork("inception", 299, network, file_sha256(path), device)


def random_crops(image: np.ndarray, side: int, count: int, seed: int) -> list[np.ndarray]:
    """Return `count` crops of `side` pixels at random places of a uint8 image (H, W, 3), the same for the same seed.

    Raises:
        UserError: The image is smaller than a crop.
    """
    height, width = image.shape[:2]
    if min(height, width) < side:
        raise UserError(f"an image of {width}x{height} px has no crops of {side} px")
    draw = np.random.default_rng(seed)
    corners = [(draw.integers(height - side + 1), draw.integers(width - side + 1)) for _ in range(count)]
    return [image[top : top + side, left : left + side] for top, left in corners]


@dataclass(frozen=True)
class ImageSet:
    """Image files whose features are wanted, whole or in crops of their own resolution.

    Attributes:
        files: Image files, read as `read_image` reads them.
        crop: Side of the crops in pixels; None takes whole images.
        crops_per_image: Number of crops of each.
        seed: Of the crops' places; an image's place in the list is added.
    """

    files: tuple[Path, ...]
    crop: int | None = None
    crops_per_image: int = 1
    seed: int = 0

    def images(self) -> Iterable[np.ndarray]:
        """Yield uint8 images (H, W, 3)."""
        for index, path in enumerate(self.files):
            image = read_image(path)
            if self.crop is None:
                yield image
            else:
                yield from random_crops(image, self.crop, self.crops_per_image, self.seed * 1_000_003 + index)

    @property
    def groups(self) -> np.ndarray:
        """Number of the image that each row of the features is from."""
        return np.repeat(np.arange(len(self.files)), self.crops_per_image if self.crop else 1)

    def sha256(self) -> str:
        """Return a hash of the files' bytes, in order, and of the crops."""
        lines = [f"{self.crop} {self.crops_per_image} {self.seed}", *map(_hashed_once, self.files)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _hashed_once(path: Path) -> str:
    facts = path.stat()
    return _file_hash(path.resolve(), facts.st_size, facts.st_mtime_ns)


@functools.cache
def _file_hash(path: Path, size: int, changed: int) -> str:
    """Return the hash of a file that was changed last at a moment; a file is read again when it changed."""
    return file_sha256(path)


def extract(network: FeatureNetwork, images: ImageSet, cache: Path) -> np.ndarray:
    """Return the features (N, D) of an image set, from `cache` where they were extracted before."""
    path = cache / f"{network.name}-{network.sha256[:12]}-{images.sha256()[:24]}.npy"
    if path.is_file():
        return np.load(path)
    features = network(images.images())
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, features)
    return features


class ClipScore:
    """Cosine between CLIP's embeddings of image and prompt, in [-1, 1]; through open_clip.

    Args:
        weights: A local file; by default the weights in the hub's cache. Nothing is downloaded.
        model: Name of the architecture.
        device: Where it runs.

    Raises:
        UserError: The weights are not there.
    """

    def __init__(self, weights: Path | None = None, model: str = CLIP_MODEL, device: str = "cpu"):
        weights = NETWORKS["vit-b-32"].require(weights)
        import open_clip

        network: Any
        network, _, self.prepare = open_clip.create_model_and_transforms(
            model, pretrained=str(weights), force_quick_gelu=True
        )
        self.network: Any = network.eval().to(device)
        self.device = device
        self.tokenize = open_clip.get_tokenizer(model)
        self.name = f"clip/{model.lower()}"

    @torch.no_grad()
    def __call__(self, files: Sequence[Path], prompts: Sequence[str]) -> np.ndarray:
        """Return the score of each image with its own prompt, (N,)."""
        scores = []
        for batch in batches(zip(files, prompts, strict=True), BATCH):
            images = [self.prepare(Image.fromarray(read_image(path))) for path, _ in batch]  # pyright: ignore
            texts = self.tokenize([prompt for _, prompt in batch])
            with exact_float32():
                ours = self.network.encode_image(torch.stack(images).to(self.device), normalize=True)  # pyright: ignore
                theirs = self.network.encode_text(texts.to(self.device), normalize=True)
            scores.append((ours * theirs).sum(1).double().cpu())
        return torch.cat(scores).numpy()

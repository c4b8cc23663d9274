"""The settings of a training run, typed; the only module that reads YAML."""

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lua_lightning.errors import UserError, unknown_name

T = TypeVar("T")


@dataclass
class DataConfig:
    """Where the photographs are."""

    photos: str = "data/photos"
    """Folder of the photo set, with the manifest.json that `python -m data` writes."""


@dataclass
class CacheConfig:
    """The cached latent pairs: crops of photographs and their reduced versions, all encoded."""

    folder: str = "cache"
    """Folder of all caches. Each distinct cache is a subfolder whose name holds a hash of everything that made it."""
    codec: str = "tiny-d16"
    """Codec of the latents: an embedded name, a known name (sdxl, flux, ...), a local folder, a hub id, or rgb for the
    pixels themselves."""
    through: str | None = None
    """Codec whose round trip the reduced crops take first, as the images of a pipeline do. It needs codec=rgb."""
    crop_px: int = 512
    """Side of a high-resolution crop, in pixels."""
    sampling: str = "detail"
    """How training crops are chosen: detail draws them by detail, in any orientation; grid takes non-overlapping
    crops, as published."""
    crops_per_photo: int = 16
    """Training crops of each photograph, with sampling=detail."""
    held_out_crops_per_photo: int = 4
    """Most crops of each photograph that is not trained on. They are chosen by detail and do not overlap."""
    held_out_photos: int = 100
    """Most photographs of each split that is not trained on, chosen by their hash. Their pixels are stored too."""
    shard_pairs: int = 64
    """Pairs in each safetensors shard."""
    dtype: str = "float16"
    """Number format of the stored latents: float16, bfloat16 or float32."""
    train_pixels: bool = False
    """Whether the pixels of the training crops are kept too. loss_options.pixel_target=photo needs them."""
    verify: str = "full"
    """What every start checks of each shard: full compares its checksum; size compares only its size, for very large
    caches."""
    seed: int = 0
    """Seed of the crops' places and orientations."""


@dataclass
class NetworkConfig:
    """The network to train."""

    size: str = "tiny"
    """Size of the network: tiny, light or paper, or lsr for LSRNA's latent super-resolver."""
    head: str | None = None
    """Kind of head: pixelshuffle has one head per scale; liif has one head for any scale. null takes the size's own."""
    head_dim: int | None = None
    """Width of the heads. null takes the size's own."""
    scales: tuple[int, ...] = (2, 4)
    """Scales to train: 2, 4 or both."""
    skip: str = "linear"
    """What the network's output is added to: linear is bicubic plus a learned linear map; bicubic is bicubic alone;
    none is nothing, as published."""
    swin_weights: str | None = None
    """File of official pixel SwinIR weights that warm-start the trunk."""
    init_from: str | None = None
    """Adapter to start from: a folder, a name of the zoo, or latest:STAGE for that stage's newest finished run."""
    transfer: bool = False
    """Whether init_from was trained for another codec. Its first layer is then replaced, and its last layers too where
    the number of channels differs."""
    residual_bound: float = 0.0
    """Largest residual, in half widths of each channel's range. 0 sets no bound."""
    gradient_checkpointing: bool = False
    """Whether the trunk computes its activations again in the backward pass, which saves memory and costs time."""


@dataclass
class OptimConfig:
    """The optimiser and its schedule."""

    name: str = "adamw"
    """Optimiser: adamw or adam."""
    learning_rate: float = 2e-3
    """Peak learning rate."""
    skip_rate: float = 0.1
    """Learning rate of a linear skip, as a factor of learning_rate."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay rates of the optimiser's averages of gradients and of squared gradients."""
    weight_decay: float = 0.0
    """Weight decay."""
    schedule: str = "cosine"
    """Course of the learning rate: cosine warms up and then falls to zero; multistep halves it at each milestone."""
    warmup_steps: int = 50
    """Steps in which the learning rate rises linearly from zero, with schedule=cosine."""
    milestones: tuple[int, ...] = ()
    """Steps at which the learning rate is halved, with schedule=multistep."""
    gradient_clip: float = 0.4
    """Largest norm of the gradient. A larger gradient is scaled down to it."""
    ema_decay: float = 0.999
    """Decay of the averaged weights (EMA) that validation and the exported adapter use."""
    ema_warmup: bool = True
    """Whether the n-th average uses a decay of at most (1 + n) / (10 + n), which short runs need."""


@dataclass
class LossOptions:
    """What the paper leaves open about its loss terms; the defaults are what it most likely means."""

    pixel_target: str = "decoded"
    """What pixel terms compare with: decoded is the decoded high-resolution latents, as published; photo is the
    photograph itself."""
    fft_norm: str = "ortho"
    """Normalisation of the Fourier transforms: ortho, backward or forward, as torch.fft.fft2 calls them."""
    fft_reduction: str = "mean"
    """Reduction of the Fourier terms over frequencies and channels: mean or sum."""
    downsample_factor: int = 0
    """Factor by which pixel_downsample reduces both images: 0 is the upscaling factor, as in the paper's text; 2 is
    its appendix."""
    high_frequency_kernel: int = 5
    """Side of the Gaussian of pixel_high_frequency, in pixels. It is odd."""
    high_frequency_sigma: float = 1.0
    """Standard deviation of the Gaussian of pixel_high_frequency, in pixels."""
    eagle_high_pass: str = "lua"
    """High-pass filter of pixel_eagle: lua is 1 - exp(-f^2 / 2fc^2); eagle is its authors' Gaussian around the
    cutoff."""
    eagle_cutoff: float = 0.5
    """Cutoff fc of that filter, in cycles per sample of the variance map."""
    eagle_norm: str = "ortho"
    """Normalisation of the Fourier transform in pixel_eagle: ortho, backward or forward."""
    eagle_reduction: str = "sum"
    """Reduction of pixel_eagle over frequencies: sum, as published, or mean."""


@dataclass
class TrainConfig:
    """Length, batches and hardware."""

    steps: int = 2000
    """Optimiser steps of the run."""
    batch_size: int = 16
    """Pairs in a batch, on each process."""
    accumulate: int = 1
    """Batches whose gradients are summed before each optimiser step."""
    crop_latents: int = 32
    """Side of the high-resolution latent patch of a training pair. One latent is eight pixels wide with most codecs."""
    joint_fraction: float = 1.0
    """Share of the steps, from the start, that supervise every head. After it, one head is sampled per step and the
    others are not updated."""
    decode_latents: int = 10
    """Side, in latents, of the random window of a patch that pixel terms see. 0 takes the whole patch."""
    decode_margin: int = 1
    """Latents that are decoded around that window and cut off, because the decoder feels its border there."""
    checkpoint_decoder: bool = False
    """Whether the decoder computes its activations again in the backward pass, which saves memory and costs time."""
    decode_chunk: int = 1
    """Images whose activations the decoder holds at once in the backward pass, with checkpoint_decoder=true."""
    gradient_norms_every: int = 0
    """Steps between measurements of the gradient norm of each loss term. 0 never measures."""
    precision: str = "auto"
    """Precision of the training: auto, 32-true or bf16-mixed. auto is bf16-mixed where the device has such units."""
    decoder_precision: str = "32-true"
    """Precision of the frozen autoencoder: 32-true or bf16-mixed, which is faster and gives rougher gradients."""
    compile: bool = False
    """Whether torch.compile compiles the adapter."""
    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu or mps."""
    devices: str = "auto"
    """Lightning's devices: auto, a number of devices, or a list of their indices."""
    num_nodes: int = 1
    """Machines that train together."""
    workers: int = 0
    """Processes that load data. 0 loads in the training process, which memory-mapped shards allow."""
    log_every: int = 10
    """Steps between logged values."""
    checkpoint_every: int = 200
    """Steps between the checkpoints that a stopped run resumes from."""


@dataclass
class ValidationConfig:
    """What is measured on held-out photographs."""

    every: int = 1000
    """Steps between validations."""
    image_keys: int = 4
    """Crops whose image grids are logged."""


@dataclass
class TrackingConfig:
    """What is recorded in MLflow. The address is MLFLOW_TRACKING_URI, or mlflow.db in the current folder."""

    experiment: str = "lua-lightning"
    """MLflow experiment of the run."""
    system_metrics: bool = True
    """Whether the load of processor, memory and GPU is recorded."""


@dataclass
class RunConfig:
    """A whole training run."""

    name: str = "stage1"
    """Name of the run's folder in `runs` and of the MLflow run."""
    stage: str = "stage1"
    """Stage of the curriculum, by which later stages and settings of a chain find the run."""
    seed: int = 0
    """Seed of the initial weights and of the order of the data."""
    runs: str = "runs"
    """Folder that receives one folder per run."""
    loss: dict[str, float] = field(default_factory=dict)
    """Weight of each loss term, by its name in docs/losses.md. 0 leaves a term out."""
    loss_options: LossOptions = field(default_factory=LossOptions)
    """What the paper leaves open about its loss terms."""
    data: DataConfig = field(default_factory=DataConfig)
    """The photographs."""
    cache: CacheConfig = field(default_factory=CacheConfig)
    """The cached latent pairs."""
    adapter: NetworkConfig = field(default_factory=NetworkConfig)
    """The network."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """The optimiser."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Length, batches and hardware."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """The validation."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """The records in MLflow."""


def load_config(schema: type[T], path: Path | None, overrides: list[str] = ()) -> T:  # type: ignore[assignment]
    """Return `schema` filled from a YAML file and `key=value` overrides, the latter winning.

    Raises:
        UserError: The file is missing or is not YAML, a key is unknown (the near match is named), or a value has
            the wrong type.
    """
    layers: list[tuple[str, Any]] = []
    if path is not None:
        layers.append((str(path), read_yaml(path)))
    for override in overrides:
        if "=" not in override:
            raise UserError(f"{override!r} is not a setting: write key=value, for example train.steps=100")
    if overrides:
        layers.append(("the command line", OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)))))
    merged = OmegaConf.structured(schema)
    for where, layer in layers:
        _refuse_unknown_keys(schema, layer, where)
        try:
            merged = OmegaConf.merge(merged, layer)
        except OmegaConfBaseException as error:
            raise UserError(f"{where}: {str(error).splitlines()[0]} (setting {error.full_key})") from error
    return OmegaConf.to_object(merged)  # type: ignore[return-value]


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds; an empty one holds no settings.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {error}") from error


def _refuse_unknown_keys(schema: type, layer: Any, where: str, prefix: str = "") -> None:
    if not isinstance(layer, dict):
        raise UserError(f"{where}: {prefix or 'the file'} must be a mapping of settings, not {layer!r}")
    kinds = {item.name: item.type for item in fields(schema)}
    for key, value in layer.items():
        if key not in kinds:
            raise unknown_name(f"setting in {where}:", f"{prefix}{key}", [prefix + name for name in kinds])
        if is_dataclass(kinds[key]):
            _refuse_unknown_keys(kinds[key], value, where, f"{prefix}{key}.")  # type: ignore[arg-type]


def to_yaml(config: Any) -> str:
    """Return a config object as YAML that `load_config` reads back to an equal object."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))

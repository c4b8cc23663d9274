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

    photos: str = "data/photos"  # folder with manifest.json, as `python -m data` writes it


@dataclass
class CacheConfig:
    """The cached latent pairs: HR crops of photographs and their reduced versions, all encoded."""

    folder: str = "cache"  # one subfolder per distinct cache; the name holds a hash of everything that made it
    codec: str = "tiny-d16"  # embedded name, known name (sdxl, flux, ...), local folder or hub id; rgb: the pixels
    through: str | None = None  # with codec=rgb: the codec whose round trip the reduced crops take, as a pipeline's do
    crop_px: int = 512  # side of the HR crop in pixels
    sampling: str = "detail"  # detail: random crops by detail, any orientation; grid: non-overlapping, as published
    crops_per_photo: int = 16  # with sampling=detail
    held_out_crops_per_photo: int = 4  # at most, from each photograph not trained on, by detail, none overlapping
    shard_pairs: int = 64  # pairs per safetensors shard
    dtype: str = "float16"  # of the stored latents: float16, bfloat16 or float32
    train_pixels: bool = False  # keep the training crops' pixels too, which loss_options.pixel_target=photo needs
    verify: str = "full"  # full: every shard's checksum at every start; size: only its size, for very large caches
    seed: int = 0


@dataclass
class NetworkConfig:
    """The network to train."""

    size: str = "tiny"  # tiny, light or paper; lsr is LSRNA's latent super-resolver
    head: str | None = None  # pixelshuffle, or liif for one head for any scale; the size's own when not given
    head_dim: int | None = None  # width of the head; the size's own when not given
    scales: tuple[int, ...] = (2, 4)  # one head each
    skip: str = "linear"  # residual over bicubic plus a learned linear map; bicubic: without it; none: as published
    swin_weights: str | None = None  # official pixel SwinIR file that warm-starts the trunk
    init_from: str | None = None  # adapter folder, zoo name, or latest:STAGE for that stage's newest finished run
    transfer: bool = False  # init_from was made for another codec: replace its first and, if need be, last layers
    residual_bound: float = 0.0  # largest residual, in half widths of each channel's range; 0 leaves it free
    gradient_checkpointing: bool = False


@dataclass
class OptimConfig:
    """The optimiser and its schedule."""

    name: str = "adamw"  # adamw or adam
    learning_rate: float = 2e-3
    skip_rate: float = 0.1  # learning rate of a linear skip over that of the rest
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    schedule: str = "cosine"  # cosine: warm-up, then cosine to zero; multistep: halve at each milestone
    warmup_steps: int = 50
    milestones: tuple[int, ...] = ()  # steps, for schedule=multistep
    gradient_clip: float = 0.4  # largest gradient norm
    ema_decay: float = 0.999  # of the averaged weights that validation and export use
    ema_warmup: bool = True  # start with a small decay, (1 + n) / (10 + n), which short runs need


@dataclass
class LossOptions:
    """What the paper leaves open about its loss terms; the defaults are what it most likely means."""

    pixel_target: str = "decoded"  # decoded: the decoded HR latents, as published; photo: the photograph itself
    fft_norm: str = "ortho"  # ortho, backward or forward, as torch.fft.fft2 calls them
    fft_reduction: str = "mean"  # mean or sum over frequencies and channels
    downsample_factor: int = 0  # 0: the upscaling factor (the paper's text); 2: its appendix
    high_frequency_kernel: int = 5  # pixels, odd
    high_frequency_sigma: float = 1.0  # pixels
    eagle_high_pass: str = "lua"  # lua: 1 - exp(-f^2 / 2fc^2); eagle: its authors' Gaussian around the cutoff
    eagle_cutoff: float = 0.5  # cycles per sample of the variance map
    eagle_norm: str = "ortho"  # as fft_norm
    eagle_reduction: str = "sum"  # sum over frequencies, as published, or mean


@dataclass
class TrainConfig:
    """Length, batches and hardware."""

    steps: int = 2000
    batch_size: int = 16  # pairs per step and process
    accumulate: int = 1  # steps whose gradients are summed before an update
    crop_latents: int = 32  # side of the HR latent patch of a training pair; 8 pixels each
    joint_fraction: float = 1.0  # of the steps that supervise every head; after it one head a step is drawn by lot
    decode_latents: int = 10  # side of the random window that pixel terms see of a patch, in latents; 0: all of it
    decode_margin: int = 1  # latents decoded around that window and cut off, where the decoder feels its border
    checkpoint_decoder: bool = False  # decode again in the backward pass instead of keeping activations
    gradient_norms_every: int = 0  # steps between measurements of each term's gradient norm; 0: never
    precision: str = "auto"  # auto, 32-true or bf16-mixed; auto is bf16-mixed where the device has it
    decoder_precision: str = "32-true"  # of the frozen autoencoder: 32-true, or bf16-mixed with rougher gradients
    compile: bool = False  # torch.compile the adapter
    accelerator: str = "auto"
    devices: str = "auto"
    num_nodes: int = 1
    workers: int = 0  # data-loading processes
    log_every: int = 10  # steps
    checkpoint_every: int = 200  # steps between checkpoints to resume from


@dataclass
class ValidationConfig:
    """What is measured on held-out photographs."""

    every: int = 1000  # steps
    image_keys: int = 4  # crops whose image grids are logged


@dataclass
class TrackingConfig:
    """Where the run is recorded; the address is MLFLOW_TRACKING_URI or the checkout's mlflow.db."""

    experiment: str = "lua-lightning"
    system_metrics: bool = True


@dataclass
class RunConfig:
    """A whole training run."""

    name: str = "stage1"  # of the run's folder in `runs` and of the MLflow run
    stage: str = "stage1"
    seed: int = 0
    runs: str = "runs"  # folder that receives one folder per run
    loss: dict[str, float] = field(default_factory=dict)  # weight of each term of `losses.TERMS`; 0 leaves it out
    loss_options: LossOptions = field(default_factory=LossOptions)
    data: DataConfig = field(default_factory=DataConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    adapter: NetworkConfig = field(default_factory=NetworkConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


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

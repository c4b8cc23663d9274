"""The settings of a training run, typed; the only module that reads YAML."""

from collections.abc import Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lua_lightning.bounds import (
    SEED,
    Each,
    File,
    Matching,
    Name,
    Odd,
    OneOf,
    Text,
    Within,
    check,
    shown,
    type_problem,
)
from lua_lightning.data_config import CacheConfig, DataConfig
from lua_lightning.documents import read_yaml
from lua_lightning.errors import UserError, first_line, unknown_name

T = TypeVar("T")
MOST_STEPS = 1_000_000_000
NORM, REDUCTION = OneOf("ortho", "backward", "forward"), OneOf("mean", "sum")
DEVICES = Matching(r"auto|-1|[1-9]\d{0,3}|\d{1,4}(,\d{1,4})+|\d{1,4},", "auto, a number from 1, or indices such as 0,1")
REFERENCE = "${"  # OmegaConf would look up what follows, in the environment too


@dataclass
class NetworkConfig:
    """The network to train."""

    size: Annotated[str, OneOf("tiny", "small", "wide", "base", "light", "paper", "lsr")] = "tiny"
    """Size of the network: tiny, small, wide or base (0.3 to 6 million weights), light, or paper, which is the
    published one. lsr is that of LSRNA."""
    head: Annotated[str | None, OneOf("pixelshuffle", "liif")] = None
    """Kind of head: pixelshuffle has one head per scale; liif has one head for any scale. null takes the size's own."""
    head_dim: Annotated[int | None, Within(1, 4096)] = None
    """Width of the heads. null takes the size's own."""
    scales: Annotated[tuple[int, ...], Each(OneOf(2, 4), least=1, distinct=True)] = (2, 4)
    """Scales to train: 2, 4 or both."""
    skip: Annotated[str, OneOf("linear", "bicubic", "none")] = "linear"
    """What the network's output is added to: linear is bicubic plus a learned linear map; bicubic is bicubic alone;
    none is nothing, as published."""
    swin_weights: Annotated[str | None, File()] = None
    """File of official pixel SwinIR weights that warm-start the trunk."""
    init_from: Annotated[str | None, Text()] = None
    """Adapter to start from: a folder, a name of the zoo, or latest:STAGE for that stage's newest finished run."""
    transfer: bool = False
    """Whether init_from was trained for another codec. Its first layer is then replaced, and its last layers too where
    the number of channels differs."""
    residual_bound: Annotated[float, Within(0, 1000)] = 0.0
    """Largest residual, in half widths of each channel's range. 0 sets no bound."""
    gradient_checkpointing: bool = False
    """Whether the trunk computes its activations again in the backward pass, which saves memory and costs time."""


@dataclass
class OptimConfig:
    """The optimiser and its schedule."""

    name: Annotated[str, OneOf("adamw", "adam")] = "adamw"
    """Optimiser: adamw or adam."""
    learning_rate: Annotated[float, Within(0, 10, above=True)] = 2e-3
    """Peak learning rate."""
    skip_rate: Annotated[float, Within(0, 1000)] = 0.1
    """Learning rate of a linear skip, as a factor of learning_rate."""
    betas: Annotated[tuple[float, float], Each(Within(0, 1, below=True))] = (0.9, 0.99)
    """Decay rates of the optimiser's averages of gradients and of squared gradients."""
    weight_decay: Annotated[float, Within(0, 100)] = 0.0
    """Weight decay."""
    schedule: Annotated[str, OneOf("cosine", "multistep")] = "cosine"
    """Course of the learning rate: cosine warms up and then falls to zero; multistep halves it at each milestone."""
    warmup_steps: Annotated[int, Within(0, MOST_STEPS)] = 50
    """Steps in which the learning rate rises linearly from zero, with schedule=cosine."""
    milestones: Annotated[tuple[int, ...], Each(Within(1, MOST_STEPS), distinct=True)] = ()
    """Steps at which the learning rate is halved, with schedule=multistep."""
    gradient_clip: Annotated[float, Within(0, 1e6, above=True)] = 0.4
    """Largest norm of the gradient. A larger gradient is scaled down to it."""
    ema_decay: Annotated[float, Within(0, 1, below=True)] = 0.999
    """Decay of the averaged weights (EMA) that validation and the exported adapter use."""
    ema_warmup: bool = True
    """Whether the n-th average uses a decay of at most (1 + n) / (10 + n), which short runs need."""


@dataclass
class LossOptions:
    """What the paper leaves open about its loss terms; the defaults are what it most likely means."""

    pixel_target: Annotated[str, OneOf("decoded", "photo")] = "decoded"
    """What pixel terms compare with: decoded is the decoded high-resolution latents, as published; photo is the
    photograph itself."""
    fft_norm: Annotated[str, NORM] = "ortho"
    """Normalisation of the Fourier transforms: ortho, backward or forward, as torch.fft.fft2 calls them."""
    fft_reduction: Annotated[str, REDUCTION] = "mean"
    """Reduction of the Fourier terms over frequencies and channels: mean or sum."""
    downsample_factor: Annotated[int, Within(0, 64)] = 0
    """Factor by which pixel_downsample reduces both images: 0 is the upscaling factor, as in the paper's text; 2 is
    its appendix."""
    high_frequency_kernel: Annotated[int, Within(1, 255), Odd()] = 5
    """Side of the Gaussian of pixel_high_frequency, in pixels. It is odd."""
    high_frequency_sigma: Annotated[float, Within(0, 1000, above=True)] = 1.0
    """Standard deviation of the Gaussian of pixel_high_frequency, in pixels."""
    eagle_high_pass: Annotated[str, OneOf("lua", "eagle")] = "lua"
    """High-pass filter of pixel_eagle: lua is 1 - exp(-f^2 / 2fc^2); eagle is its authors' Gaussian around the
    cutoff."""
    eagle_cutoff: Annotated[float, Within(0, 1000, above=True)] = 0.5
    """Cutoff fc of that filter, in cycles per sample of the variance map."""
    eagle_norm: Annotated[str, NORM] = "ortho"
    """Normalisation of the Fourier transform in pixel_eagle: ortho, backward or forward."""
    eagle_reduction: Annotated[str, REDUCTION] = "sum"
    """Reduction of pixel_eagle over frequencies: sum, as published, or mean."""


@dataclass
class TrainConfig:
    """Length, batches and hardware."""

    steps: Annotated[int, Within(1, MOST_STEPS)] = 2000
    """Optimiser steps of the run."""
    batch_size: Annotated[int, Within(1, 65_536)] = 16
    """Pairs in a batch, on each process."""
    accumulate: Annotated[int, Within(1, 65_536)] = 1
    """Batches whose gradients are summed before each optimiser step."""
    crop_latents: Annotated[int, Within(1, 4096)] = 32
    """Side of the high-resolution latent patch of a training pair. One latent is eight pixels wide with most codecs."""
    joint_fraction: Annotated[float, Within(0, 1)] = 1.0
    """Share of the steps, from the start, that supervise every head. After it, one head is sampled per step and the
    others are not updated."""
    decode_latents: Annotated[int, Within(0, 4096)] = 10
    """Side, in latents, of the random window of a patch that pixel terms see. 0 takes the whole patch."""
    decode_margin: Annotated[int, Within(0, 4096)] = 1
    """Latents that are decoded around that window and cut off, because the decoder feels its border there."""
    checkpoint_decoder: bool = False
    """Whether the decoder computes its activations again in the backward pass, which saves memory and costs time."""
    decode_chunk: Annotated[int, Within(1, 65_536)] = 1
    """Images whose activations the decoder holds at once in the backward pass, with checkpoint_decoder=true."""
    gradient_norms_every: Annotated[int, Within(0, MOST_STEPS)] = 0
    """Steps between measurements of the gradient norm of each loss term. 0 never measures."""
    precision: Annotated[str, OneOf("auto", "32-true", "bf16-mixed")] = "auto"
    """Precision of the training: auto, 32-true or bf16-mixed. auto is bf16-mixed where the device has such units."""
    decoder_precision: Annotated[str, OneOf("32-true", "bf16-mixed")] = "32-true"
    """Precision of the frozen autoencoder: 32-true or bf16-mixed, which is faster and gives rougher gradients."""
    compile: bool = False
    """Whether torch.compile compiles the adapter."""
    accelerator: Annotated[str, OneOf("auto", "cpu", "gpu", "cuda", "mps")] = "auto"
    """Lightning's accelerator: auto, cpu, gpu or mps."""
    devices: Annotated[str, DEVICES] = "auto"
    """Lightning's devices: auto, a number of devices, or a list of their indices."""
    num_nodes: Annotated[int, Within(1, 10_000)] = 1
    """Machines that train together."""
    workers: Annotated[int, Within(0, 1024)] = 0
    """Processes that load data. 0 loads in the training process, which memory-mapped shards allow."""
    log_every: Annotated[int, Within(1, MOST_STEPS)] = 10
    """Steps between logged values."""
    checkpoint_every: Annotated[int, Within(1, MOST_STEPS)] = 200
    """Steps between the checkpoints that a stopped run resumes from."""


@dataclass
class ValidationConfig:
    """What is measured on held-out photographs."""

    every: Annotated[int, Within(1, MOST_STEPS)] = 1000
    """Steps between validations."""
    image_keys: Annotated[int, Within(0, 10_000)] = 4
    """Crops whose image grids are logged."""


@dataclass
class TrackingConfig:
    """What is recorded in MLflow. The address is MLFLOW_TRACKING_URI, or mlflow.db in the current folder."""

    experiment: Annotated[str, Text()] = "lua-lightning"
    """MLflow experiment of the run."""
    system_metrics: bool = True
    """Whether the load of processor, memory and GPU is recorded."""


@dataclass
class AdversaryConfig:
    """The discriminator of stage IV, which learns to tell decoded predictions from decoded targets."""

    weight: Annotated[float, Within(0, 1e9)] = 0.0
    """Weight of the adversarial term. 0 trains without a discriminator."""
    start_step: Annotated[int, Within(0, MOST_STEPS)] = 0
    """First step at which the discriminator learns. Until then the adapter trains alone."""
    warmup_steps: Annotated[int, Within(0, MOST_STEPS)] = 50
    """Steps from start_step in which the discriminator learns and the adapter does not yet follow it."""
    learning_rate: Annotated[float, Within(0, 10, above=True)] = 2e-4
    """Peak learning rate of the discriminator. Its course is that of the adapter's."""
    width: Annotated[int, Within(1, 4096)] = 32
    """Channels of the discriminator's first layer."""
    gradient_clip: Annotated[float, Within(0, 1e6, above=True)] = 1.0
    """Largest norm of the discriminator's gradient. A larger gradient is scaled down to it."""


@dataclass
class RunConfig:
    """A whole training run."""

    name: Annotated[str, Name()] = "stage1"
    """Name of the run's folder in `runs` and of the MLflow run."""
    stage: Annotated[str, Name()] = "stage1"
    """Stage of the curriculum, by which later stages and settings of a chain find the run."""
    seed: Annotated[int, Within(0, SEED)] = 0
    """Seed of the initial weights and of the order of the data."""
    runs: Annotated[str, Text()] = "runs"
    """Folder that receives one folder per run."""
    loss: Annotated[dict[str, float], Each(Within(0, 1e9))] = field(default_factory=dict)
    """Weight of each loss term, by its name in docs/losses.md. 0 leaves a term out."""
    loss_options: LossOptions = field(default_factory=LossOptions)
    """What the paper leaves open about its loss terms."""
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    """The discriminator of stage IV."""
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

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each loss term by name, the adversary's too."""
        return {**self.loss, "adversarial": self.adversary.weight}


def load_config(schema: type[T], path: Path | None, overrides: Sequence[str] = ()) -> T:
    """Return `schema` filled from a YAML file and `key=value` overrides, the latter winning, all within bounds.

    Raises:
        UserError: The file is missing or is not YAML, a key is unknown (the near match is named), or a value has
            the wrong type or lies outside the bounds of its field.
    """
    layers: list[tuple[str, Any]] = [] if path is None else [(str(path), read_yaml(path))]
    layers += [("the command line", _override(text)) for text in overrides]
    merged = OmegaConf.structured(schema)
    for where, layer in layers:
        _refuse_unknown_keys(schema, layer, where)
        _refuse_references(layer, where)
        try:
            merged = OmegaConf.merge(merged, layer)
        except _PARSING as error:
            raise UserError(f"{where}: {_culprit(schema, layer) or first_line(error)}") from error
    return check(OmegaConf.to_object(merged))  # type: ignore[return-value]


# What OmegaConf and its YAML raise on texts that are no settings.
_PARSING = (
    yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    RecursionError,
)  # fmt: skip


def _culprit(schema: type, layer: dict[str, Any], prefix: str = "") -> str | None:
    """Return which setting of a layer its field does not take, and what it must be."""
    kinds = get_type_hints(schema)
    for key, value in layer.items():
        if is_dataclass(kinds[key]):
            if found := _culprit(kinds[key], value, f"{prefix}{key}."):  # type: ignore[arg-type]
                return found
            continue
        try:
            OmegaConf.merge(OmegaConf.structured(schema), {key: value})
        except _PARSING as error:
            known = getattr(error, "full_key", None) or ""
            if "[" in known or "." in known:  # within a list or a mapping of groups: the library knows better where
                return f"{prefix}{known}: {first_line(error)}"
            return f"{prefix}{key}={shown(value)} must {type_problem(kinds[key], value) or 'be of another kind'}"
    return None


def _override(text: str) -> Any:
    """Return one `key=value` as the mapping it stands for."""
    key, equals, _ = text.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")) or "[" in key:
        raise UserError(f"{text!r} is not a setting: write key=value, for example train.steps=100")
    if REFERENCE in text:
        raise UserError(f"{text} refers to something else ({REFERENCE}...): write the value itself")
    try:
        return OmegaConf.to_container(OmegaConf.from_dotlist([text]))
    except _PARSING as error:
        raise UserError(f"{text} cannot be read: the value is no YAML ({first_line(error)})") from error


def _refuse_references(value: Any, where: str, key: str = "") -> None:
    """Refuse what OmegaConf would not take as it stands: references, which it resolves, and its mark of absence."""
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_references(item, where, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _refuse_references(item, where, f"{key}.{number}")
    elif isinstance(value, str) and REFERENCE in value:
        raise UserError(f"{where}: {key}={value} refers to something else ({REFERENCE}...): write the value itself")
    elif value == "???":
        raise UserError(f"{where}: {key}=??? has no value: write one")


def _refuse_unknown_keys(schema: type, layer: Any, where: str, prefix: str = "") -> None:
    if not isinstance(layer, dict):
        raise UserError(f"{where}: {prefix.rstrip('.') or 'the file'} must be a mapping of settings, not {layer!r}")
    kinds = get_type_hints(schema)
    for key, value in layer.items():
        if key not in kinds:
            raise unknown_name(f"setting in {where}:", f"{prefix}{key}", [prefix + name for name in kinds])
        if kinds[key] is bool and type(value) is int and value not in (0, 1):  # OmegaConf takes any number
            raise UserError(f"{where}: {prefix}{key}={value} must be true or false")
        if is_dataclass(kinds[key]):
            _refuse_unknown_keys(kinds[key], value, where, f"{prefix}{key}.")  # type: ignore[arg-type]


def to_yaml(config: Any) -> str:
    """Return a config object as YAML that `load_config` reads back to an equal object."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))

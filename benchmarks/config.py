"""The settings of a benchmark, typed, and the size profiles with the sample counts that fit a machine."""

from dataclasses import dataclass, field

from baselines.registry import METHODS
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.generators.catalogue import GeneratorFacts

PROTOCOL = "1"  # of PROTOCOL.md; numbers of different versions never share a table


@dataclass
class BenchConfig:
    """One benchmark: every method at one size, under the protocol."""

    size: int = 512
    """Side of the images, in pixels."""
    generator: str = "tiny-sdxl"
    """Generator: a name, a folder or a hub id."""
    adapter: str = "lua-tiny-d16"
    """Adapter: a name, a folder or a hub id."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Methods to measure."""
    settings: dict[str, list[str]] = field(default_factory=dict)
    """Settings of a method, by its name: a list of key=value texts."""
    prompts: int = 0
    """How many of the protocol's prompts are used. 0 takes as many as the profile says."""
    steps: int = 0
    """Denoising steps of every diffusion pass. 0 takes the profile's number, or each method's published one."""
    seed: int = 42
    """Seed of the first prompt. Each prompt after it has the next number."""
    photos: str = "data/photos"
    """Folder of the photo set that the reconstruction track uses, and that distributions are compared with."""
    crops_per_photo: int = 0
    """Crops of each photograph in the reconstruction track. 0 takes as many as the profile says."""
    folders: dict[str, str] = field(default_factory=dict)
    """Folders of images that were made elsewhere, by the name of their row."""
    inception: str | None = None
    """Local file of the Inception weights."""
    clip: str | None = None
    """Local file of the CLIP weights."""
    devices: int = 1
    """Processes on this machine, one GPU each. torchrun decides where it starts them."""
    num_nodes: int = 1
    """Machines that take part."""
    out: str = "runs/bench"
    """Folder that receives one folder per distinct benchmark."""
    experiment: str = "lua-lightning-bench"
    """MLflow experiment of the benchmark."""


@dataclass(frozen=True)
class Profile:
    """How much of the protocol a size is given.

    Attributes:
        prompts: Number of prompts.
        steps: Denoising steps; None takes each method's published number.
        crops_per_photo: Of the reconstruction track.
    """

    prompts: int
    steps: int | None
    crops_per_photo: int


# Two slow cores: at most 5, 10 and 25 minutes for the first three.
SMALL = {512: Profile(2, 10, 2), 1024: Profile(2, 5, 2), 2048: Profile(2, 2, 2), 4096: Profile(1, 2, 2)}
FULL = Profile(1000, None, 16)


def resolve(config: BenchConfig, facts: GeneratorFacts) -> BenchConfig:
    """Return `config` with the profile's counts in place of zeros.

    Raises:
        UserError: A method is unknown, or the size is not on the generator's ladder.
    """
    facts.base_size(config.size)
    for name in (*config.methods, *config.settings):
        if name not in METHODS:
            raise unknown_name("method", name, METHODS)
    for name in config.folders:
        if name in METHODS:
            raise UserError(f"folders.{name}: {name} is a method of the benchmark, so the folder needs another name")
    for key in ("prompts", "steps", "crops_per_photo"):
        if getattr(config, key) < 0:
            raise UserError(f"{key}={getattr(config, key)} must be 0 (as the profile says) or more")
    profile = SMALL.get(config.size, SMALL[4096]) if facts.name == "tiny-sdxl" else FULL
    config.prompts = config.prompts or profile.prompts
    config.steps = config.steps or profile.steps or 0
    config.crops_per_photo = config.crops_per_photo or profile.crops_per_photo
    return config

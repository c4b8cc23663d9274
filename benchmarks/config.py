"""The settings of a benchmark, typed, and the size profiles with the sample counts that fit a machine."""

from dataclasses import dataclass, field

from baselines.registry import METHODS
from lua_lightning.generators.catalogue import GeneratorFacts


@dataclass
class BenchConfig:
    """One benchmark: every method at one size, under the protocol."""

    size: int = 512
    """Side of the images in pixels; one of the generator's ladder."""
    generator: str = "tiny-sdxl"
    """Name, folder or hub id of the generator."""
    adapter: str = "lua-tiny-d16"
    """Name, folder or hub id of the adapter that `lua` and `lua-refine` use."""
    methods: tuple[str, ...] = tuple(METHODS)
    """The methods to measure."""
    settings: dict[str, list[str]] = field(default_factory=dict)
    """Settings of single methods, such as `settings.swinir=["weights=my-swinir"]`."""
    prompts: int = 0
    """How many of the protocol's prompts are used; 0 takes the profile's number."""
    steps: int = 0
    """Denoising steps of every diffusion pass; 0 takes the profile's number, or the published ones."""
    seed: int = 42
    """Seed of the first prompt's image; each further prompt adds one."""
    photos: str = "data/photos"
    """Folder of a photo set: its test photographs are reconstructed, all of them are the reference of distributions."""
    crops_per_photo: int = 0
    """Crops of each test photograph, at most; 0 takes the profile's number."""
    folders: dict[str, str] = field(default_factory=dict)
    """Folders of images made elsewhere, in the order of the prompts, by the name of their row."""
    inception: str | None = None
    """Local file of the Inception weights; the one that `make inception` fetches by default."""
    clip: str | None = None
    """Local file of the CLIP weights; the ones that `make clip` fetches by default."""
    devices: int = 1
    """Processes on this machine, one per GPU; with torchrun as many as it starts."""
    num_nodes: int = 1
    """Number of machines."""
    out: str = "runs/bench"
    """Folder that receives one folder per distinct benchmark."""
    experiment: str = "lua-lightning-bench"
    """Name of the MLflow experiment."""


WHERE = ("out", "experiment", "devices", "num_nodes")  # settings that no result depends on


@dataclass(frozen=True)
class Profile:
    """How much of the protocol a size is given."""

    prompts: int
    """Number of prompts."""
    steps: int | None
    """Denoising steps; None takes each method's published number."""
    crops_per_photo: int
    """Crops of each test photograph, at most."""


# Two slow cores: at most 5, 10 and 25 minutes for the first three.
SMALL = {512: Profile(2, 10, 2), 1024: Profile(2, 5, 2), 2048: Profile(2, 2, 2), 4096: Profile(1, 2, 2)}
FULL = Profile(1000, None, 16)


def profile_of(facts: GeneratorFacts, size: int) -> Profile:
    """Return the sample counts of a generator at a size."""
    return SMALL.get(size, SMALL[4096]) if facts.name == "tiny-sdxl" else FULL

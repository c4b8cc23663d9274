"""The settings of a benchmark, typed, and the size profiles with the sample counts that fit a machine."""

from dataclasses import dataclass, field
from typing import Annotated

from baselines.registry import METHODS
from lua_lightning.bounds import SEED, Each, File, OneOf, Text, Within
from lua_lightning.generators.catalogue import OFFLOADS, GeneratorFacts


@dataclass
class BenchConfig:
    """One benchmark: every method at one size, under the protocol."""

    size: Annotated[int, Within(64, 65_536)] = 512
    """Side of the images in pixels; one of the generator's ladder."""
    generator: Annotated[str, Text()] = "tiny-sdxl"
    """Name, folder or hub id of the generator."""
    adapter: Annotated[str, Text()] = "lua-tiny-d16"
    """Name, folder or hub id of the adapter that `lua` and `lua-refine` use."""
    methods: Annotated[tuple[str, ...], Each(OneOf(*METHODS), least=1, distinct=True)] = tuple(METHODS)
    """The methods to measure."""
    settings: Annotated[dict[str, list[str]], Each(Each(Text()))] = field(default_factory=dict)
    """Settings of single methods, such as `settings.swinir=["weights=my-swinir"]`."""
    prompts: Annotated[int, Within(0, 1_000_000)] = 0
    """How many of the prompts are used; 0 takes the profile's number, or all of a shorter `prompts_file`."""
    prompts_file: Annotated[str, Text(empty=True)] = ""
    """Prompts in place of the protocol's: a text file with one to a line, a JSON list of texts, a JSON object of
    captions by photograph, or a folder with a .txt file beside each photograph."""
    offload: Annotated[str, OneOf(*OFFLOADS)] = "none"
    """Where a generator waits that does not fit on the GPU: `none` keeps all of it there, `model` moves one network
    there at a time, `sequential` one layer at a time, which is slow and needs the least memory."""
    steps: Annotated[int, Within(0, 1000)] = 0
    """Denoising steps of every diffusion pass; 0 takes the profile's number, or the published ones."""
    seed: Annotated[int, Within(0, SEED)] = 42
    """Seed of the first prompt's image; each further prompt adds one."""
    photos: Annotated[str, Text()] = "data/photos"
    """Folder of a photo set: its test photographs are reconstructed, all of them are the reference of distributions."""
    crops_per_photo: Annotated[int, Within(0, 10_000)] = 0
    """Crops of each test photograph, at most; 0 takes the profile's number."""
    folders: Annotated[dict[str, str], Each(Text())] = field(default_factory=dict)
    """Folders of images made elsewhere, in the order of the prompts, by the name of their row."""
    manifest: Annotated[str | None, File()] = None
    """Table of images made elsewhere with their times: a CSV or JSON file of `method`, `file`, `prompt` (its number,
    from 0), `seed`, `seconds`, `device`, and `memory_mib` where known."""
    inception: Annotated[str | None, File()] = None
    """Local file of the Inception weights; the one that `make inception` fetches by default."""
    clip: Annotated[str | None, File()] = None
    """Local file of the CLIP weights; the ones that `make clip` fetches by default."""
    dinov2: Annotated[str | None, Text()] = None
    """Local folder of DINOv2 ViT-L/14, as transformers writes it; the one that `make dinov2` fetches by default."""
    clip_large: Annotated[str | None, Text()] = None
    """Local folder of CLIP ViT-L/14 at 336 px, likewise; the one that `make clip-large` fetches by default."""
    devices: Annotated[int, Within(1, 1024)] = 1
    """Processes on this machine, one per GPU; with torchrun as many as it starts."""
    num_nodes: Annotated[int, Within(1, 10_000)] = 1
    """Number of machines."""
    out: Annotated[str, Text()] = "runs/bench"
    """Folder that receives one folder per distinct benchmark."""
    experiment: Annotated[str, Text()] = "lua-lightning-bench"
    """Name of the MLflow experiment."""


LATER = ("dinov2", "clip_large", "manifest")  # settings that came later: at their defaults they change no folder
LATER_METHODS = ("roundtrip", "lua-light")  # a benchmark of all methods has the folder that it had without them
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

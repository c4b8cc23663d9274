"""A benchmark, resolved: every setting is checked, and everything it names is found, before any work begins."""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from baselines.contract import Method, World
from baselines.registry import METHODS, build_method, method_class
from benchmarks.config import LATER, LATER_METHODS, WHERE, BenchConfig, profile_of
from benchmarks.manifest import Brought, read_manifest
from benchmarks.prompts import read_prompts
from benchmarks.protocol import CROP_PX, CROP_SEED, VERSION, patch_px
from lua_lightning.bounds import check
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.evaluation.rows import ROWS
from lua_lightning.generators.catalogue import GeneratorFacts, find_generator
from lua_lightning.models.pretrained import find_pretrained, weights_mark
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.pairs.plan import Crop, held_out_crops
from lua_lightning.pictures import UnusableImage, read_image, readable_suffixes


@dataclass(frozen=True)
class Job:
    """One image to make."""

    method: str
    """Name of the method."""
    index: int
    """Number of the prompt."""
    prompt: str
    """Its text."""
    seed: int
    """Seed of the image."""


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark measures, on what, and where its results belong; see `resolve`."""

    config: BenchConfig
    """The settings, with the profile's counts in place of zeros."""
    facts: GeneratorFacts
    """What is known of the generator."""
    base_size: int
    """Side in pixels of the images that are enlarged."""
    prompts: tuple[str, ...]
    """The prompts, in order."""
    photos: PhotoSet
    """The photographs."""
    brought: Mapping[str, tuple[Path, ...]]
    """Images made elsewhere, by the name of their row."""
    timed: Mapping[str, tuple[Brought, ...]]
    """Those of a manifest, with what making them took."""
    marks: Mapping[str, str]
    """By method, a hash of what determines its images beside prompt and seed: settings and weights."""

    @property
    def size(self) -> int:
        """Side in pixels of the images that are made."""
        return self.config.size

    @property
    def scale(self) -> int:
        """How many times larger they are than the base images."""
        return self.size // self.base_size

    @property
    def patch(self) -> int:
        """Side in pixels of the patches that distributions are compared by."""
        return patch_px(self.facts)

    @property
    def steps(self) -> int | None:
        """Denoising steps of every diffusion pass; None takes each method's published number."""
        return self.config.steps or None

    @property
    def folder(self) -> Path:
        """The folder of images, scores and results: the same settings share one, so that a killed benchmark goes on."""
        return folder_of(self.config)

    @property
    def enlarging(self) -> list[str]:
        """The methods that can enlarge a photograph, which has no prompt."""
        return [name for name in self.config.methods if not method_class(name).needs_prompt and name != "native"]

    def world(self, device: str) -> World:
        """Return what the methods work with, on a device."""
        return World(self.config.generator, self.config.adapter, device, self.steps, self.config.offload)

    def method(self, name: str, world: World) -> Method:
        """Return a method with its settings."""
        return build_method(name, world, self.config.settings.get(name, []))

    def jobs(self, process: int = 0, processes: int = 1) -> list[Job]:
        """Return the images that one of several processes makes: whole prompts, which share their base latents."""
        return [
            Job(method, index, prompt, self.config.seed + index)
            for index, prompt in enumerate(self.prompts)
            if index % processes == process
            for method in self.config.methods
        ]

    def fingerprint(self, job: Job) -> str:
        """Return a hash of what determines the image of a job."""
        return _hash([self.marks[job.method], job.prompt, job.seed])

    def crops(self) -> list[Crop]:
        """Return the crops of test photographs that are reconstructed; they depend on the protocol alone."""
        return list(held_out_crops(self.photos, "test", CROP_PX, self.config.crops_per_photo, CROP_SEED))


def resolve(config: BenchConfig) -> Benchmark:
    """Return the benchmark that settings describe; nothing is sampled, trained or downloaded.

    Raises:
        UserError: A setting is wrong, or what it names is missing; told in seconds, in one sentence.
    """
    check(config)
    _check_names(config)
    facts = find_generator(config.generator)
    base_size = facts.base_size(config.size)
    profile = profile_of(facts, config.size)
    prompts = read_prompts(config.prompts, config.prompts_file, profile.prompts)
    timed = read_manifest(Path(config.manifest).expanduser(), len(prompts), patch_px(facts)) if config.manifest else {}
    _check_row_names({**config.folders, **timed}, config)
    config = replace(
        config,
        prompts=len(prompts),
        steps=config.steps or profile.steps or 0,
        crops_per_photo=config.crops_per_photo or profile.crops_per_photo,
    )
    benchmark = Benchmark(
        config,
        facts,
        base_size,
        prompts,
        _photographs(config.photos),
        {name: images_in(path, patch_px(facts)) for name, path in config.folders.items()},
        timed,
        _marks(config, facts, base_size),
    )
    _check_writable(benchmark.folder)
    return benchmark


def folder_of(config: BenchConfig) -> Path:
    """Return the folder of a benchmark: the same settings go on in the same place."""
    settings = {key: value for key, value in asdict(config).items() if key not in WHERE and (value or key not in LATER)}
    if config.methods == tuple(METHODS):
        settings["methods"] = [name for name in METHODS if name not in LATER_METHODS]
    mark = hashlib.sha256(json.dumps([VERSION, settings], sort_keys=True).encode()).hexdigest()[:8]
    return Path(config.out) / f"{config.size}-{Path(config.generator).name}-{mark}"


def images_in(path: str, patch: int) -> tuple[Path, ...]:
    """Return the images of a user's folder, by name.

    Args:
        path: The folder.
        patch: Side of the patches that are compared, in pixels.

    Raises:
        UserError: It holds none, or one that cannot be read or is too small for the patch metrics.
    """
    suffixes = readable_suffixes()
    files = tuple(sorted(file for file in Path(path).glob("*") if file.suffix.lower() in suffixes))
    if not files:
        raise UserError(f"{path} holds no images: give a folder of images, in the order of prompts")
    for file in files:
        try:
            side = min(read_image(file).shape[:2])
        except UnusableImage as error:
            raise UserError(f"{error}: take it out of the folder or mend it") from error
        if side < patch:
            raise UserError(f"{file} has a side of {side} px, and patches of {patch} px are compared: take it out")
    return files


def _check_names(config: BenchConfig) -> None:
    for name in config.settings:
        if name not in METHODS:
            raise unknown_name("method", name, METHODS)


def _check_row_names(names: Iterable[str], config: BenchConfig) -> None:
    for name in names:
        where, what = ("folders.", "folder") if name in config.folders else (f"{config.manifest}: ", "method")
        if name in (*METHODS, *ROWS):
            raise UserError(f"{where}{name}: {name} is a row of the benchmark, so the {what} needs another name")


def _photographs(folder: str) -> PhotoSet:
    photos = PhotoSet.load(folder)
    if not any(min(photo.width, photo.height) >= CROP_PX for photo in photos.split("test")):
        raise UserError(f"{folder} has no test photograph of {CROP_PX} px or more: take a photo set with larger ones")
    return photos


def _marks(config: BenchConfig, facts: GeneratorFacts, base_size: int) -> dict[str, str]:
    world, marks = World(config.generator, config.adapter), {}
    for name in config.methods:
        settings = config.settings.get(name, [])
        sources = build_method(name, world, settings).sources
        for source in set(sources) - {config.generator, facts.codec}:
            if not Path(source).expanduser().exists() and source.count("/") != 1:  # else perhaps a hub id
                find_pretrained(source)
        weights = [weights_mark(source) for source in sources]
        marks[name] = _hash([name, config.size, base_size, config.steps, sorted(settings), weights])
    return marks


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): name another with out=FOLDER") from error


def _hash(content: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

"""The generators known by name, and where their weights are; light enough to be asked before torch is imported."""

import socket
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from urllib.parse import urlparse

from lua_lightning.checkout import of_checkout
from lua_lightning.documents import read_json
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.zoo import ZOO

INDEX = "model_index.json"
OFFLOADS = ("none", "model", "sequential")


PROBE_SECONDS = 2.0


NEGATIVE = "blurry, ugly, duplicate, poorly drawn face, deformed, mosaic, artifacts, bad limbs"


@dataclass(frozen=True)
class GeneratorFacts:
    """What is known of a generator before it is loaded."""

    name: str
    source: str  # hub id or folder
    gigabytes: float  # of its weights, about
    codec: str | None = None  # name of its autoencoder in `LatentCodec`; None: the one in its folder
    native_size: int = 1024  # pixels
    steps: int | None = 30  # None, of these two: what the pipeline's own call takes
    guidance_scale: float | None = 7.5
    negative_prompt: str | None = None
    dtype: str = "float16"
    variant: str | None = None  # of the weight files
    ladder: tuple[tuple[int, int], ...] = ((1024, 512), (2048, 1024), (4096, 1024))  # target side, base side

    def base_size(self, size: int) -> int:
        """Return the side in pixels that an image of `size` is enlarged from.

        Raises:
            UserError: The size is not on the generator's ladder.
        """
        known = dict(self.ladder)
        if size not in known:
            raise UserError(f"size {size} is not one that {self.name} is enlarged to: {', '.join(map(str, known))}")
        return known[size]


# Settings as in the paper where it gives them; sizes are those of the published half-precision files.
GENERATORS = {
    facts.name: facts
    for facts in (
        GeneratorFacts(
            "tiny-sdxl",
            str(ZOO / "tiny-sdxl"),
            0.016,
            codec="tiny-d16",
            native_size=256,
            steps=20,
            guidance_scale=2.0,
            dtype="float32",
            ladder=((512, 256), (1024, 256), (2048, 512), (4096, 1024)),
        ),
        GeneratorFacts(
            "sdxl",
            "stabilityai/stable-diffusion-xl-base-1.0",
            7,
            codec="sdxl",
            negative_prompt=NEGATIVE,
            variant="fp16",
        ),
        GeneratorFacts(
            "sd3", "stabilityai/stable-diffusion-3-medium-diffusers", 16, guidance_scale=7.0, negative_prompt=NEGATIVE
        ),
        GeneratorFacts("flux", "black-forest-labs/FLUX.1-Krea-dev", 34, steps=12, guidance_scale=4.5, dtype="bfloat16"),
        GeneratorFacts("flux2", "black-forest-labs/FLUX.2-dev", 113, steps=28, guidance_scale=4.0, dtype="bfloat16"),
    )
}


CLASSES = {
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
    "FluxPipeline": "flux",
    "Flux2Pipeline": "flux2",
}
# What diffusers calls pipelines that begin with a picture, or need one beside the prompt.
WITH_PICTURES = ("Img2Img", "Inpaint", "Control", "Kontext", "Edit", "Layered", "Upscale", "Pix2Pix", "Video", "Fill")


def of_class(facts: GeneratorFacts, kind: str) -> GeneratorFacts:
    """Return facts of weights that nobody has named, with the settings of the known generator of the same class.

    Of another class, steps and guidance stay open: its pipeline knows its own.

    Raises:
        UserError: The class of pipelines makes no pictures of a prompt alone.
    """
    wrong = next((word for word in WITH_PICTURES if word in kind), None)
    if wrong:
        raise UserError(
            f"{facts.name} is a {kind}, which does not make images of a prompt alone: a text-to-image pipeline is "
            "needed"
        )
    if kind not in CLASSES:
        return facts
    known = GENERATORS[CLASSES[kind]]
    names = ("steps", "guidance_scale", "negative_prompt", "dtype")
    return replace(facts, **{name: getattr(known, name) for name in names})


def _unnamed(name: str, source: str) -> GeneratorFacts:
    """Return the facts of weights that are no known generator's; bfloat16 overflows in none."""
    return GeneratorFacts(name, source, 0.0, steps=None, guidance_scale=None, dtype="bfloat16")


def zoo_generators() -> list[str]:
    """Return the names of the generators that ship inside the package."""
    return sorted(path.parent.name for path in ZOO.glob(f"*/{INDEX}"))


def find_generator(name: str) -> GeneratorFacts:
    """Return the facts of a generator, its `source` being a folder on disk or a repository that can be reached.

    Args:
        name: A key of `GENERATORS`, a folder in diffusers' pipeline format, or a hub id.

    Raises:
        UserError: There is no such generator, or its weights are neither here nor within reach; told in seconds.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _of_folder(folder)
    facts = GENERATORS.get(name)
    if facts is None:
        if name.count("/") != 1 or folder.is_absolute():
            raise unknown_name("generator (or folder, or hub id)", name, GENERATORS)
        facts = _unnamed(name, name)
    if Path(facts.source).is_absolute():
        if not (Path(facts.source) / INDEX).is_file():
            raise UserError(
                f"the embedded {name} is not in {facts.source}: make it with {of_checkout('make zoo-generator')}"
            )
        return facts
    if not in_hub_cache(facts.source) and not hub_answers():
        size = f", about {facts.gigabytes:g} GB" if facts.gigabytes else ""
        raise UserError(
            f"generator={name} wants the weights of {facts.source}{size}: they are not in the hub's cache and the hub "
            "cannot be reached, so give a local folder in diffusers' format instead (generator=/path/to/folder)"
        )
    return facts


def _of_folder(folder: Path) -> GeneratorFacts:
    """Return the facts of a pipeline's folder, as `of_class` knows them."""
    try:
        kind = read_json(folder / INDEX).get("_class_name")
    except UserError as error:
        raise UserError(
            f"{folder} has no readable {INDEX}: it is not a generator in diffusers' pipeline format"
        ) from error
    if not isinstance(kind, str):
        raise UserError(f"{folder / INDEX} names no class of pipelines, but {kind!r}")
    return of_class(_unnamed(folder.name, str(folder)), kind)


def in_hub_cache(repo: str) -> bool:
    """Return whether the hub's local cache holds the repository's index."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repo, INDEX), str)


def hub_answers(seconds: float = PROBE_SECONDS) -> bool:
    """Return whether the hub accepts a connection within `seconds`; never when HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    address = urlparse(constants.ENDPOINT)
    answers: list[bool] = []

    def probe() -> None:
        port = address.port or (80 if address.scheme == "http" else 443)
        try:
            socket.create_connection((address.hostname or "", port), timeout=seconds).close()
            answers.append(True)
        except OSError:
            pass

    thread = Thread(target=probe, daemon=True)  # looking a name up can hang beyond any timeout
    thread.start()
    thread.join(seconds)
    return bool(answers)

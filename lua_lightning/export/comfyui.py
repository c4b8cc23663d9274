"""`export comfyui`: the one file that the node *Load LUA* of the pack in `comfyui/` takes."""

import inspect
import json
from pathlib import Path

from safetensors import safe_open

from lua_lightning.errors import UserError
from lua_lightning.export.cards import card
from lua_lightning.export.parity import largest_difference
from lua_lightning.export.subject import Subject
from lua_lightning.files import write_text
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.comfyui_file import CONFIG_KEY, LATENTS_KEY, write_comfyui_file
from lua_lightning.models.known_codecs import KNOWN
from lua_lightning.models.network import UpscalerNetwork
from lua_lightning.pipeline import check_pair

MODELS = "models/latent_upscale_models"  # where ComfyUI looks for it
SNIPPET = """
from safetensors import safe_open

with safe_open("{file}", "pt") as file:
    print(file.metadata()["lua_config"])  # what the network is built from; ComfyUI needs the file alone
"""


def export(subject: Subject, folder: Path) -> float:
    """Write the file and its card, and return the largest difference of the network in it to the adapter.

    Raises:
        UserError: Nothing says how the adapter's latents are normalised, or the difference is larger than 1e-4.
    """
    path = folder / file_of(subject)
    codec = _codec(subject)
    write_comfyui_file(path, subject.adapter, codec, subject.codec)
    difference = largest_difference(subject.adapter, network_of(path), "ComfyUI")
    facts = [
        f"Put `{path.name}` into ComfyUI's `{MODELS}`; the node *Load LUA* lists it.",
        f"Differs from the adapter by at most {difference:.1e}, over five sizes and every scale.",
        _said_of_latents(subject, path),
    ]
    write_text(
        folder / "README.md",
        card(subject, "A file for ComfyUI", SNIPPET.format(file=path.name), facts, library="comfyui"),
    )
    return difference


def file_of(subject: Subject) -> str:
    """Return the file's name, by which ComfyUI lists it: the adapter's own."""
    name = Path(subject.source).expanduser().resolve().name
    for suffix in (".safetensors", ".pth"):
        name = name.removesuffix(suffix)
    return f"{name}.safetensors"


def network_of(path: Path) -> UpscalerNetwork:
    """Return the network that a file holds, built of its header alone, as the node pack does."""
    with safe_open(path, framework="pt") as file:
        config = json.loads(file.metadata()[CONFIG_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    settings = inspect.signature(UpscalerNetwork).parameters
    network = UpscalerNetwork(**{name: value for name, value in config.items() if name in settings})
    network.load_state_dict(tensors)
    return network.eval()


def _codec(subject: Subject) -> LatentCodec | None:
    """Return the autoencoder whose factors go into the file; None where the node pack needs none, or knows them."""
    if subject.adapter.config.space == "raw" or subject.codec in KNOWN:
        return None
    if subject.codec is None:
        raise UserError(f"{subject.source} does not say which autoencoder it was trained on: name it with --codec")
    codec = LatentCodec.from_pretrained(subject.codec)
    check_pair(subject.adapter, codec)
    return codec


def _said_of_latents(subject: Subject, path: Path) -> str:
    """Return a sentence on how the node gets from ComfyUI's latents to the adapter's."""
    if subject.adapter.config.space == "raw":
        return "It works on the latents as ComfyUI holds them (raw)."
    with safe_open(path, framework="pt") as file:
        stored = LATENTS_KEY in file.metadata()
    if stored:
        return f"The file holds how the latents of `{subject.codec}` are normalised."
    return f"The node pack knows how the latents of `{subject.codec}` are normalised."

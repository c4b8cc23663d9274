"""`export diffusers`: a model that `diffusers.AutoModel` loads, and this library too."""

import importlib.util
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from diffusers.utils import logging
from torch import Tensor

from lua_lightning.export.cards import card
from lua_lightning.export.parity import largest_difference
from lua_lightning.export.source import joined
from lua_lightning.export.subject import Subject
from lua_lightning.files import write_text
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.pretrained import write_pretrained

CODE, CLASS = "modeling_lua.py", "LatentUpscalerLUA"
MODULES = ("models/windows.py", "models/network.py", "export/carried.py", "export/modeling_lua.py")
HEAD = "{} (LUA, arXiv 2511.10629), written by `lua-lightning export`. Needs {}.\n\nApache-2.0; see LICENSE.\n"
SNIPPET = """
import torch
from diffusers import AutoModel

upscaler = AutoModel.from_pretrained("{hub_id}", trust_remote_code=True)
latents = torch.randn(1, {channels}, 32, 48)  # {space} latents of a generator
larger = upscaler(latents, scale={scale}).sample  # 1, {channels}, {height}, {width}
"""


def export(subject: Subject, folder: Path) -> float:
    """Write the model, its code and its card, and return its largest difference to the adapter."""
    write_model(subject.adapter, folder)
    difference = check_model(subject.adapter, folder)
    config, scale = subject.adapter.config, subject.adapter.config.scales[0]
    sizes = {"scale": scale, "height": 32 * scale, "width": 48 * scale}
    snippet = SNIPPET.format(hub_id=subject.hub_id, channels=config.channels, space=config.space, **sizes)
    facts = [
        f"Differs from the adapter by at most {difference:.1e}, over five sizes and every scale.",
        f"The code is one file, `{CODE}`, which needs PyTorch and diffusers alone.",
    ]
    write_text(folder / "README.md", card(subject, "A model for diffusers", snippet, facts))
    return difference


def write_model(adapter: LatentUpscaler, folder: Path) -> None:
    """Write configuration, weights and code."""
    config = {
        "_class_name": CLASS,
        "_diffusers_version": version("diffusers"),
        "auto_map": {"AutoModel": f"{Path(CODE).stem}.{CLASS}"},
        **asdict(adapter.config),
    }
    write_pretrained(folder, config, adapter.state_dict())
    write_text(folder / CODE, joined(HEAD.format("A latent upscaler", "PyTorch and diffusers alone"), MODULES))


def check_model(adapter: LatentUpscaler, folder: Path) -> float:
    """Return the largest difference of what was written to the adapter; see `largest_difference`."""
    model = loaded(folder, CODE, CLASS)

    def enlarge(latents: Tensor, scale: int) -> Tensor:
        return model(latents, scale).sample

    return largest_difference(adapter, enlarge, "diffusers")


def loaded(folder: Path, code: str, name: str) -> Any:
    """Return a model loaded by the class `name` in its folder's own code; a missing tensor is an error."""
    kind = getattr(module_of(folder / code), name)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns of `auto_map`, which its own loader reads
    try:
        model, report = kind.from_pretrained(folder, output_loading_info=True)
    finally:
        logging.set_verbosity(verbosity)
    missing = {name: names for name, names in report.items() if names}
    if missing:
        raise RuntimeError(f"{folder} does not fit its own code: {missing}")
    return model


def module_of(path: Path) -> ModuleType:
    """Return the module that a file holds, imported under its own name but not kept."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

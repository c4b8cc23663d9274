"""`export modular`: a step for diffusers' modular pipelines, with the adapter as its component."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lua_lightning.errors import UserError
from lua_lightning.export.cards import card
from lua_lightning.export.diffusers import CLASS, CODE, HEAD, check_model, loaded, module_of, write_model
from lua_lightning.export.parity import largest_difference
from lua_lightning.export.source import joined
from lua_lightning.export.subject import Subject
from lua_lightning.files import write_json, write_text
from lua_lightning.models.codec import PIXELS

BLOCK, STEP, COMPONENT, INDEX = "block.py", "LatentUpscaleStep", "latent_upscaler", "modular_model_index.json"
MODULES = ("models/factors.py", "export/layouts.py", "export/block.py")
SNIPPET = """
from diffusers import ModularPipeline, ModularPipelineBlocks

pipe = ModularPipeline.from_pretrained("{hub_id}", trust_remote_code=True)  # the step alone
pipe.load_components(trust_remote_code=True)
larger = pipe(latents=latents, upscale={scale}, output="latents")

step = ModularPipelineBlocks.from_pretrained("{hub_id}", trust_remote_code=True)
blocks.sub_blocks.insert("latent_upscale", step, list(blocks.sub_blocks).index("decode"))  # of your generator
generator = blocks.init_pipeline("your/generator")
generator.load_components()
generator.update_components(latent_upscaler=pipe.latent_upscaler)
image = generator(prompt="a mountain lake", upscale={scale}, output="images")[0]
"""


def export(subject: Subject, folder: Path) -> float:
    """Write the step, its component and its card, and return its largest difference to the adapter."""
    if subject.adapter.config.codec == PIXELS:
        raise UserError(f"{subject.source} enlarges pixels: a step before the decoder needs an adapter for latents")
    write_model(subject.adapter, folder / COMPONENT)
    write_text(folder / BLOCK, joined(HEAD.format("A modular step", "PyTorch and diffusers alone"), MODULES))
    step = getattr(module_of(folder / BLOCK), STEP)()
    step.save_pretrained(str(folder))
    pipe = step.init_pipeline()
    pipe.save_pretrained(str(folder), overwrite_modular_index=False)
    _name_component(folder / INDEX, subject.hub_id)
    difference = max(check_model(subject.adapter, folder / COMPONENT), _check(subject, pipe, folder))
    facts = [
        f"Differs from the adapter by at most {difference:.1e}, over five sizes and every scale.",
        "It takes latents as FLUX, FLUX.2, FLUX.3, SDXL, SD3, Qwen-Image and Wan have them before decoding: also 2x2 "
        "cells packed into channels, and films frame by frame.",
        f"On the hub, `pretrained_model_name_or_path` in `{INDEX}` must be the repository's own id; "
        "`lua-lightning export --hub-id OWNER/NAME` writes it.",
    ]
    snippet = SNIPPET.format(hub_id=subject.hub_id, scale=subject.adapter.config.scales[0])
    write_text(folder / "README.md", card(subject, "A step for diffusers' modular pipelines", snippet, facts))
    return difference


def _name_component(path: Path, hub_id: str) -> None:
    index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    library, kind, spec = index[COMPONENT]
    index[COMPONENT] = [library, kind, {**spec, "pretrained_model_name_or_path": hub_id, "subfolder": COMPONENT}]
    write_json(path, index, indent=2)


def _check(subject: Subject, pipe: Any, folder: Path) -> float:
    """Return the largest difference of the step to the adapter, on latents and on packed latents."""
    if subject.adapter.config.space == "raw":
        return 0.0  # what the step adds is the generator's own autoencoder, which is not here
    pipe.update_components(**{COMPONENT: loaded(folder / COMPONENT, CODE, CLASS)})

    def plain(latents: Tensor, scale: int) -> Tensor:
        return pipe(latents=latents, upscale=scale, output="latents")

    def packed(latents: Tensor, scale: int) -> Tensor:
        cells = pipe(latents=torch.pixel_unshuffle(latents, 2), upscale=scale, output="latents")
        return torch.pixel_shuffle(cells, 2)

    return max(
        largest_difference(subject.adapter, plain, "modular"),
        largest_difference(subject.adapter, packed, "modular", even=True),
    )

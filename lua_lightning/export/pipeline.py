"""`export pipeline`: adapter and autoencoder as one pipeline, which decodes what another one left as latents."""

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from lua_lightning.errors import UserError
from lua_lightning.export.cards import card
from lua_lightning.export.diffusers import CLASS, CODE, HEAD, check_model, loaded, module_of, write_model
from lua_lightning.export.parity import largest_difference
from lua_lightning.export.source import joined
from lua_lightning.export.subject import Subject
from lua_lightning.files import write_json, write_text
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.patch_autoencoder import PatchAutoencoder
from lua_lightning.models.pretrained import write_pretrained
from lua_lightning.pipeline import check_pair

PIPELINE, PIPELINE_CLASS = "pipeline_lua.py", "LatentUpscalePipeline"
MODULES = ("models/factors.py", "export/layouts.py", "export/pipeline_lua.py")
PATCH_CODE, PATCH_CLASS = "modeling_patch.py", "PatchAutoencoder"
PATCH_MODULES = ("models/patch_network.py", "export/carried.py", "export/modeling_patch.py")
SNIPPET = """
from diffusers import DiffusionPipeline

upscale = DiffusionPipeline.from_pretrained("{hub_id}", trust_remote_code=True)
latents = generator("a mountain lake", output_type="latent").images  # of your generator
image = upscale(latents=latents, upscale={scale}).images[0]  # tokens, as of FLUX, need height and width
"""


def export(subject: Subject, folder: Path) -> float:
    """Write the pipeline, its parts and its card, and return its largest difference to the adapter."""
    if subject.codec is None:
        raise UserError(f"{subject.source} does not say which autoencoder it was trained on: name it with --codec")
    codec = LatentCodec.from_pretrained(subject.codec)
    check_pair(subject.adapter, codec)
    write_model(subject.adapter, folder / "latent_upscaler")
    vae = _write_autoencoder(codec, folder / "vae")
    write_text(folder / PIPELINE, joined(HEAD.format("A pipeline", "PyTorch and diffusers alone"), MODULES))
    index = {
        "_class_name": [Path(PIPELINE).stem, PIPELINE_CLASS],
        "_diffusers_version": version("diffusers"),
        "latent_upscaler": [Path(CODE).stem, CLASS],
        "vae": vae,
    }
    write_json(folder / "model_index.json", index, indent=2)
    difference = max(
        check_model(subject.adapter, folder / "latent_upscaler"), _check(subject, codec, folder, vae[0] != "diffusers")
    )
    facts = [
        f"Latents differ from the adapter's by at most {difference:.1e}, over five sizes and every scale.",
        f"The autoencoder in `vae/` is `{subject.codec}`.",
    ]
    snippet = SNIPPET.format(hub_id=subject.hub_id, scale=subject.adapter.config.scales[0])
    write_text(folder / "README.md", card(subject, "A pipeline for diffusers", snippet, facts))
    return difference


def _write_autoencoder(codec: LatentCodec, folder: Path) -> list[str]:
    """Write the autoencoder and return its library, or the file with its code, and its class."""
    model = codec.model
    if isinstance(model, PatchAutoencoder):
        auto = {"AutoModel": f"{Path(PATCH_CODE).stem}.{PATCH_CLASS}"}
        write_pretrained(
            folder, {"_class_name": PATCH_CLASS, "auto_map": auto, **asdict(model.config)}, model.state_dict()
        )
        write_text(
            folder / PATCH_CODE, joined(HEAD.format("An autoencoder", "PyTorch and diffusers alone"), PATCH_MODULES)
        )
        return [Path(PATCH_CODE).stem, PATCH_CLASS]
    if not isinstance(model, ModelMixin):
        raise UserError(
            f"the autoencoder {codec.source} is none of diffusers: name one in its folder format with --codec"
        )
    model.save_pretrained(folder)
    return ["diffusers", type(model).__name__]


def _check(subject: Subject, codec: LatentCodec, folder: Path, custom_vae: bool) -> float:
    """Return the largest difference of the pipeline's latents to the adapter's; its images must be the codec's."""
    vae = loaded(folder / "vae", PATCH_CODE, PATCH_CLASS) if custom_vae else codec.model
    parts = {"vae": vae, "latent_upscaler": loaded(folder / "latent_upscaler", CODE, CLASS)}
    pipe: Any = getattr(module_of(folder / PIPELINE), PIPELINE_CLASS)(**parts)
    raw = subject.adapter.config.space == "raw"

    def enlarge(latents: Tensor, scale: int) -> Tensor:
        given = codec.normalise(latents) if raw else latents
        larger = pipe(latents=given, upscale=scale, output_type="latent").images
        return codec.denormalise(larger) if raw else larger

    difference = largest_difference(subject.adapter, enlarge, "pipeline", even=codec.shift.shape[-1] == 2)
    latents = torch.randn(1, codec.channels, 8, 12, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = codec.decode(latents), pipe.decode(latents)
    if float((expected - found).abs().max()) > 1e-4:
        raise UserError(f"the pipeline export decodes other images than {codec.source}: it was not kept")
    return difference

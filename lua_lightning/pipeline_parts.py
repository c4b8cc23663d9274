"""Pieces of `UpscaledPipeline`: what it changes only meanwhile, and the answers of an autoencoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lua_lightning.errors import UserError
from lua_lightning.images import resize
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.backends import backend_of
from lua_lightning.sizes import Plan


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Let `owner` have another attribute of its own meanwhile."""
    missing = object()
    before = vars(owner).get(name, missing)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


@contextmanager
def placed(adapter: LatentUpscaler, device: torch.device) -> Iterator[None]:
    """Have the adapter on `device` meanwhile; one whose weights hooks of its own place is left alone."""
    home = next(adapter.parameters()).device
    moves = device != home and home.type != "meta"
    if moves:
        adapter.to(device)
    try:
        yield
    finally:
        if moves:
            adapter.to(home)


def reduced(result: Any, plan: Plan) -> Any:
    """Return an autoencoder's answer with its images (N, 3, ..., H, W) in [-1, 1] reduced and cut as planned."""
    images = result[0]
    if plan.whole != plan.enlarged:
        frames = images.transpose(1, 2).flatten(0, 1) if images.ndim == 5 else images
        frames = resize(frames.float().clamp(-1, 1), (plan.whole[1], plan.whole[0])).to(images.dtype)
        images = frames.unflatten(0, (len(images), -1)).transpose(1, 2) if images.ndim == 5 else frames
    left, top, right, bottom = plan.box
    images = images[..., top:bottom, left:right]
    if isinstance(result, tuple):
        return (images, *result[1:])
    result[next(iter(result))] = images
    return result


def latents_of(pipe: Any, **call: Any) -> Tensor:
    """Return the normalised latents (N, C, H, W), float32, that a pipeline hands to its autoencoder; none is decoded.

    However the pipeline packs its latents while it works, this is what `LatentCodec.decode` of its autoencoder takes.

    Args:
        pipe: A pipeline of images with a `vae` of a class in `models.backends.BACKENDS`.
        call: What it is called with, but for `output_type`.

    Raises:
        UserError: It ended without decoding by its `vae`.
    """
    found: list[Tensor] = []
    name = type(pipe).__name__

    def keep(raw: Tensor, *args: Any, **options: Any) -> Any:
        found.append(raw)
        return black(raw, *args, **options)

    with replaced(pipe.vae, "decode", keep):
        pipe(**call, output_type="pt")
    if not found:
        raise UserError(f"{name} returned without decoding by its `vae`: its latents cannot be had")
    raw = torch.cat(found).float()
    raw = raw.transpose(1, 2).flatten(0, 1) if raw.ndim == 5 else raw
    return backend_of(pipe.vae, name).normalise(raw)


def black(raw: Tensor, return_dict: bool = True, **_: Any) -> Any:
    """Return a small black image for each of the latents (N, C, ..., H, W), in the form of an autoencoder's answer."""
    from diffusers.models.autoencoders.vae import DecoderOutput

    images = raw.new_zeros((len(raw), 3, *raw.shape[2:-2], 8, 8))
    return DecoderOutput(sample=images) if return_dict else (images,)

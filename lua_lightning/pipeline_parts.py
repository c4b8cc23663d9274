"""Pieces of `UpscaledPipeline`: what it changes only meanwhile, and the answers of an autoencoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lua_lightning.images import resize
from lua_lightning.models.adapter import LatentUpscaler
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


def black(raw: Tensor, return_dict: bool = True, **_: Any) -> Any:
    """Return a small black image for each of the latents (N, C, ..., H, W), in the form of an autoencoder's answer."""
    from diffusers.models.autoencoders.vae import DecoderOutput

    images = raw.new_zeros((len(raw), 3, *raw.shape[2:-2], 8, 8))
    return DecoderOutput(sample=images) if return_dict else (images,)

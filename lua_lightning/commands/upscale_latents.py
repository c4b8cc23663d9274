"""`lua-lightning upscale --latents`: enlarge saved latents into an image or a file of latents."""

import argparse
import os
import time
from typing import TYPE_CHECKING

from lua_lightning.commands.outputs import check_writable, refuse_existing
from lua_lightning.errors import UserError
from lua_lightning.sizes import Target

if TYPE_CHECKING:
    from torch import Tensor

    from lua_lightning.models.codec import LatentCodec
    from lua_lightning.sizes import Plan

SPACES = ("normalised", "raw")
PACKED = 4  # times the channels of the codec: FLUX.2's latents as its transformer has them, 2x2 of them in one


def check_latents(options: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is loaded.

    Raises:
        UserError: An image is given too, or the output cannot be written or is there already.
    """
    from lua_lightning.latent_files import SUFFIXES
    from lua_lightning.pictures import writer_of

    if options.input is not None:
        raise UserError(f"{options.input} and --latents {options.latents} are both given: one of them can be enlarged")
    if options.method != "lua":
        raise UserError(f"--method {options.method} enlarges pixels, not latents: leave out --method or --latents")
    if os.path.lexists(options.output) and options.latents.exists() and options.output.samefile(options.latents):
        raise UserError(f"--output {options.output} is the input itself, which stays as it is: give another file name")
    if options.output.suffix.lower() not in SUFFIXES:
        writer_of(options.output)
    if not options.overwrite:
        refuse_existing([options.output], "give another --output, or --overwrite to replace it")
    check_writable(options.output, "--output")


def upscale_latents_file(options: argparse.Namespace, wanted: Target) -> str:
    """Enlarge the latents of a file and return a line that says what was made.

    An output of latents is in the space and the layout of the input.

    Raises:
        UserError: The file or the size cannot be used, or the models do not fit the latents or each other.
    """
    from lua_lightning.environment import checked_device
    from lua_lightning.latent_files import SUFFIXES, read_latents
    from lua_lightning.pipeline import load_pair, scales_for, upscale_latents
    from lua_lightning.sizes import plan_size
    from lua_lightning.upscaling import tile_in_latents

    found = read_latents(options.latents)
    adapter, codec = load_pair(options.adapter, options.codec, None, checked_device(options.device), options.sharpness)
    latents, packed = unpacked(found.to(codec.device), codec)
    height, width = (side * codec.downscale for side in latents.shape[-2:])
    plan = plan_size(width, height, wanted, scales_for(adapter, wanted), str(options.latents))
    as_latents = options.output.suffix.lower() in SUFFIXES
    if as_latents and plan.size != plan.enlarged:
        scales = " or ".join(f"--scale {scale}" for scale in adapter.config.scales)
        raise UserError(f"latents cannot be reduced to {wanted.ending}, as pixels can: ask for {scales}, or an image")
    if not as_latents and len(latents) > 1:
        raise UserError(f"{options.latents} holds {len(latents)} latents, an image file one: write .safetensors")
    tile, started = tile_in_latents(codec, options.tile, "--tile"), time.perf_counter()
    normalised = codec.normalise(latents) if options.space == "raw" else latents
    scale = int(plan.scale)
    enlarged = upscale_latents(adapter, codec, normalised, scale, max(1, tile // scale))
    _write(options, codec, enlarged, plan, packed)
    size = "x".join(map(str, plan.size))
    return f"{options.output}: latents of {width}x{height} -> {size} in {time.perf_counter() - started:.1f} s"


def unpacked(latents: "Tensor", codec: "LatentCodec") -> tuple["Tensor", bool]:
    """Return latents (N, C, H, W) in the codec's layout, and whether they were packed, (N, 4C, H/2, W/2).

    Raises:
        UserError: They are of another codec.
    """
    from torch.nn.functional import pixel_shuffle

    channels = latents.shape[1]
    if channels == PACKED * codec.channels:
        return pixel_shuffle(latents, 2), True
    if channels != codec.channels:
        raise UserError(
            f"the latents have {channels} channels, but those of the codec {codec.source} have {codec.channels}: "
            "choose the adapter and the codec of the model that made them"
        )
    return latents, False


def _write(options: argparse.Namespace, codec: "LatentCodec", latents: "Tensor", plan: "Plan", packed: bool) -> None:
    from torch.nn.functional import pixel_unshuffle

    from lua_lightning.images import write_image
    from lua_lightning.latent_files import SUFFIXES, write_latents
    from lua_lightning.upscaling import decode_as

    if options.output.suffix.lower() not in SUFFIXES:
        write_image(options.output, decode_as(codec, latents, plan, options.tile))
        return
    kept = codec.denormalise(latents) if options.space == "raw" else latents
    write_latents(options.output, pixel_unshuffle(kept, 2) if packed else kept)

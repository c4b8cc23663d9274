"""Write an adapter as the one file that the ComfyUI node pack loads."""

import json
from dataclasses import asdict
from pathlib import Path

from lua_lightning.errors import UserError
from lua_lightning.files import write_tensors
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec

CONFIG_KEY, LATENTS_KEY = "lua_config", "lua_latents"  # of the header; `comfyui/adapters.py` reads them


def write_comfyui_file(
    path: str | Path, adapter: LatentUpscaler, codec: LatentCodec | None = None, codec_name: str | None = None
) -> None:
    """Write a safetensors file of the weights, with the adapter's configuration in its header.

    Args:
        path: The file; it belongs into ComfyUI's `models/latent_upscale_models`.
        adapter: With pixel-shuffle heads.
        codec: The autoencoder of its latents, whose factors the header then holds too: ComfyUI keeps the latents of
            most models raw. The node pack knows those of SDXL, SD3, FLUX.1 and FLUX.2.
        codec_name: What the header calls the autoencoder; None takes the adapter's own word for it.

    Raises:
        UserError: The adapter has a LIIF head, which the node pack cannot compute; or the file cannot be written.
    """
    if adapter.config.head != "pixelshuffle":
        raise UserError(
            f"an adapter with a {adapter.config.head} head cannot be used in ComfyUI: pixelshuffle is needed"
        )
    config = {**asdict(adapter.config), "codec": codec_name or adapter.config.codec}
    header = {CONFIG_KEY: json.dumps(config)}
    if codec is not None:
        packed = codec.shift.shape[-1] > 1  # ComfyUI holds such latents normalised, and 2x2 of them as one
        factors = (
            {"packed": True}
            if packed
            else {name: getattr(codec, name).flatten().tolist() for name in ("shift", "scale")}
        )
        header[LATENTS_KEY] = json.dumps(factors)
    write_tensors(path, {name: values.cpu() for name, values in adapter.state_dict().items()}, header)

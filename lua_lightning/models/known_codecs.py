"""The codecs known by name and where their weights are published; light enough to be listed before PyTorch loads."""

from dataclasses import dataclass

PIXELS = "rgb"  # the codec that leaves images as they are


@dataclass(frozen=True)
class KnownCodec:
    """Where the weights of a codec known by name are published."""

    repo: str
    subfolder: str | None = None


KNOWN = {
    "sdxl": KnownCodec("madebyollin/sdxl-vae-fp16-fix"),
    "sd3": KnownCodec("stabilityai/stable-diffusion-3-medium-diffusers", "vae"),
    "flux": KnownCodec("black-forest-labs/FLUX.1-Krea-dev", "vae"),
    "flux2": KnownCodec("black-forest-labs/FLUX.2-klein-4B", "vae"),  # FLUX.2-dev's own repository asks for consent
    "taesdxl": KnownCodec("madebyollin/taesdxl"),
    "taesd3": KnownCodec("madebyollin/taesd3"),
    "taef1": KnownCodec("madebyollin/taef1"),
    "taef2": KnownCodec("madebyollin/taef2"),
}

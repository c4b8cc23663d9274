"""The numbers of PROTOCOL.md. A change of one of them changes results, so it needs a new version."""

from pathlib import Path

from lua_lightning.generators.catalogue import GeneratorFacts

VERSION = "2"
EARLIER = {"1": "its intervals are too narrow, and its kernel distances are not comparable"}  # shown apart, if at all
PROMPTS = Path(__file__).parent / "prompts.txt"
WARM_UPS = 1  # runs before the first counted one of a method without a diffusion pass of its own

# The metrics that decide an order; all others are additional.
SCORED = (
    "psnr", "ssim", "recovery", "lpips/alex", "perceptual/effnet-lite0",
    *(f"{patch}{kind}/{network}" for patch in ("", "patch-") for kind in ("fid", "kid")
      for network in ("effnet-lite0", "inception")),
    "clip/vit-b-32", "seconds", "peak_memory_mib",
)  # fmt: skip

# Reconstruction: crops of held-out photographs.
CROP_PX = 512
CROP_SEED = 0

# Patch metrics of generated images; the paper: crops of 1024 px on real models, their number not given.
PATCH_PX, EMBEDDED_PATCH_PX, PATCHES, PATCH_SEED = 1024, 256, 16, 7


def patch_px(facts: GeneratorFacts) -> int:
    """Return the side in pixels of the patches that images of a generator are compared by.

    It is that of the paper, where the generator is made for images of that size; else it is that of the embedded one.
    """
    return PATCH_PX if facts.native_size >= PATCH_PX else EMBEDDED_PATCH_PX

"""Settings of the photographs and of the latent pairs that are made of them."""

from dataclasses import dataclass, field
from typing import Annotated

from lua_lightning.bounds import SEED, Each, Multiple, OneOf, Text, Within


@dataclass
class DataConfig:
    """Where the photographs are."""

    photos: Annotated[str, Text()] = "data/photos"
    """Folder of the photo set, with the manifest.json that `python -m data` writes."""


@dataclass
class CacheConfig:
    """The cached latent pairs: crops of photographs and their reduced versions, all encoded."""

    folder: Annotated[str, Text()] = "cache"
    """Folder of all caches. Each distinct cache is a subfolder whose name holds a hash of everything that made it."""
    codec: Annotated[str, Text()] = "tiny-d16"
    """Codec of the latents: an embedded name, a known name (sdxl, flux, ...), a local folder, a hub id, or rgb for the
    pixels themselves."""
    through: Annotated[str | None, Text()] = None
    """Codec whose round trip the reduced crops take first, as the images of a pipeline do. It needs codec=rgb."""
    crop_px: Annotated[int, Within(32, 16_384), Multiple(32)] = 512
    """Side of a high-resolution crop, in pixels."""
    sampling: Annotated[str, OneOf("detail", "grid")] = "detail"
    """How training crops are chosen: detail draws them by detail, in any orientation; grid takes non-overlapping
    crops, as published."""
    crops_per_photo: Annotated[int, Within(1, 100_000)] = 16
    """Training crops of each photograph, with sampling=detail."""
    reductions: Annotated[list[int], Each(Within(1, 16), least=1, most=16, distinct=True)] = field(
        default_factory=lambda: [1]
    )
    """Sizes that training crops are taken at: 1 is the photograph as it is, 2 is half as wide. With sampling=detail
    each photograph's crops are shared among those of its sizes that a crop fits into."""
    lr_kernel: Annotated[str, OneOf("bicubic", "area", "lanczos")] = "bicubic"
    """Filter that makes the low-resolution crops: bicubic, area or lanczos, each antialiased."""
    held_out_crops_per_photo: Annotated[int, Within(1, 100_000)] = 4
    """Most crops of each photograph that is not trained on. They are chosen by detail and do not overlap."""
    held_out_photos: Annotated[int, Within(1, 1_000_000)] = 100
    """Most photographs of each split that is not trained on, chosen by their hash. Their pixels are stored too."""
    shard_pairs: Annotated[int, Within(1, 1_000_000)] = 64
    """Pairs in each safetensors shard."""
    dtype: Annotated[str, OneOf("float16", "bfloat16", "float32")] = "float16"
    """Number format of the stored latents: float16, bfloat16 or float32."""
    train_pixels: bool = False
    """Whether the pixels of the training crops are kept too. loss_options.pixel_target=photo needs them."""
    verify: Annotated[str, OneOf("full", "size")] = "full"
    """What every start checks of each shard: full compares its checksum; size compares only its size, for very large
    caches."""
    workers: Annotated[int, Within(0, 64)] = 2
    """Threads that decode and resize photographs while the codec encodes others; 0 does one after the other. The pairs
    are the same."""
    seed: Annotated[int, Within(0, SEED)] = 0
    """Seed of the crops' places and orientations."""

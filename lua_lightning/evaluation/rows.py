"""The rows of tables: every method has one name, which tables, pictures, results, MLflow tags and commands share.

The library reads the table too, so it stands here; `baselines/registry.py` says which class is behind a method.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A row of tables of methods."""

    name: str
    """The name everywhere: in tables and pictures, in results, and on the command line."""
    about: str
    """What the method does, in one phrase."""
    suffix: str | None = None
    """The end of its metrics' names in training runs, such as `val/x2/psnr_bicubic`; None where training lacks it."""
    competes: bool = True
    """Whether it is a competitor; a reference point knows more than a pipeline does."""


LATENT_BICUBIC, PIXEL_BICUBIC, LUA = "latent-bicubic", "pixel-bicubic", "lua"
CEILING, PHOTO_BICUBIC = "ceiling", "photo-bicubic"

ROWS = {
    row.name: row
    for row in (
        Row("native", "the base image as it is"),
        Row("direct", "sampling at the full size"),
        Row("hidiffusion", "sampling at the full size with HiDiffusion in the UNet"),
        Row(LATENT_BICUBIC, "bicubic enlargement of the latents, then decoding", "_bicubic"),
        Row("lsr", "LSRNA's latent super-resolver with a LIIF head, then decoding"),
        Row("roundtrip", "decoding, bicubic enlargement of the image, encoding, and decoding again"),
        Row(PIXEL_BICUBIC, "decoding, then bicubic enlargement of the image", "_pixel_bicubic"),
        Row("swinir", "decoding, then SwinIR"),
        Row("dat-light", "decoding, then DAT-light with its published weights"),
        Row("demofusion", "progressive phases of noise and denoising, as in DemoFusion"),
        Row("lsrna-demofusion", "the latent super-resolver, then one phase of DemoFusion"),
        Row(LUA, "the latent upscaler adapter, then decoding", ""),
        Row("lua-light", "the adapter, then a light decoder in place of the generator's own"),
        Row("lua-refine", "the adapter, then a short image-to-image pass of the generator"),
        Row(CEILING, "the autoencoder's round trip of the high-resolution photograph", "_ceiling", competes=False),
        Row(
            PHOTO_BICUBIC,
            "bicubic enlargement of the low-resolution photograph, which no pipeline has",
            "_photo_bicubic",
            competes=False,
        ),
    )
}


def row_of(name: str) -> Row:
    """Return the row of a method; a method or folder of a user's own competes and has no description."""
    return ROWS.get(name) or Row(name, "")


def trained_rows() -> dict[str, str]:
    """Return the suffix of each row that training and `lua-lightning evaluate` measure beside the adapter."""
    return {row.name: row.suffix for row in ROWS.values() if row.suffix is not None}

"""LatentUpscaler: a SwinIR trunk on latents with one pixel-shuffle head per scale (arXiv 2511.10629, section 3)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from lua_lightning.bounds import Each, Within, check
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.models.liif import LiifHead
from lua_lightning.models.network import UpscalerNetwork, crop, enlarged_size
from lua_lightning.models.pretrained import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    find_pretrained,
    load_exactly,
    read_config,
    read_weights,
    write_pretrained,
)
from lua_lightning.models.sharpness import read_at
from lua_lightning.models.swin import trunk_sizes

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"embed_dim": 48, "depths": (4, 4), "num_heads": 3, "window_size": 8, "head_dim": 32},
    "small": {"embed_dim": 96, "depths": (6, 6), "num_heads": 6, "window_size": 8, "head_dim": 64},
    "base": {"embed_dim": 144, "depths": (6, 6, 6, 6), "num_heads": 6, "window_size": 8, "head_dim": 96},
    "wide": {"embed_dim": 160, "depths": (4, 4), "num_heads": 5, "window_size": 8, "head_dim": 96},
    "light": {"embed_dim": 60, "depths": (6, 6, 6, 6), "num_heads": 6, "window_size": 8, "head_dim": 48},
    "paper": {"embed_dim": 360, "depths": (6, 6, 6, 6, 6, 6), "num_heads": 12, "window_size": 16, "head_dim": 256},
    # LSRNA's latent super-resolver (arXiv 2503.18446): a SwinIR encoder without upsampler and a LIIF head.
    "lsr": {"embed_dim": 60, "depths": (6,) * 4, "num_heads": 6, "window_size": 8, "head_dim": 256, "head": "liif"},
}


SKIPS = ("linear", "bicubic", "none")


HEADS = ("pixelshuffle", "liif")


LAST_LAYERS = tuple(f"heads.{name}.conv_last." for name in ("x2", "x4", "liif"))


NETWORK_SETTINGS = (
    *("channels", "embed_dim", "depths", "num_heads", "window_size", "mlp_ratio", "head_dim", "scales", "skip"),
    *("latent_range", "residual_bound"),
)
"""Fields of `AdapterConfig` that the network is built from; the others say which latents it was trained on."""


# The paper's authors publish a bare weights file instead of a folder with a config.json.
AUTHORS_REPO, AUTHORS_FILE = "vaskers5/LUA-FLUX", "lua_flux.pth"


@dataclass(frozen=True)
class AdapterConfig:
    """What a `LatentUpscaler` is built from, and which latents it was trained on."""

    channels: Annotated[int, Within(1, 4096)] = 16
    """Channels of the latents."""
    codec: str | None = None
    """Name of the codec that made the training latents; informative."""
    space: str = "normalised"
    """Latents it works on: "normalised", as the generator sees them, or "raw", as the autoencoder makes them."""
    embed_dim: Annotated[int, Within(1, 4096)] = 48
    """Width of the trunk."""
    depths: Annotated[tuple[int, ...], Each(Within(1, 100))] = (4, 4)
    """Number of blocks in each residual Swin group."""
    num_heads: Annotated[int, Within(1, 4096)] = 3
    """Attention heads of every block; divides `embed_dim`."""
    window_size: Annotated[int, Within(1, 64)] = 8
    """Side of the attention windows, in latent positions."""
    mlp_ratio: Annotated[float, Within(0, 64, above=True)] = 2.0
    """Hidden width of a block's MLP over `embed_dim`."""
    head_dim: Annotated[int, Within(1, 4096)] = 32
    """Width of the upsampling heads."""
    head: str = "pixelshuffle"
    """Kind of head: "pixelshuffle", one per scale as published, or "liif", one implicit function for any scale."""
    scales: tuple[int, ...] = (2, 4)
    """Scales it has a head for: 2, 4 or both."""
    skip: str = "bicubic"
    """What a head's output is added to: the "bicubic" enlargement of the input, that and a learned "linear" map of each
    position's 3x3 neighbourhood, or "none" (the paper's)."""
    downscale: Annotated[int, Within(1, 128)] = 8
    """Image pixels per latent position, along one side."""
    latent_range: tuple[tuple[float, float], ...] | None = None
    """Lowest and highest value of each channel in the training latents, in the adapter's space; None when unknown."""
    residual_bound: Annotated[float, Within(0, 1e6)] = 0.0
    """Largest absolute residual, in half widths of each channel's range (needs `latent_range`); 0 leaves it free."""

    def __post_init__(self) -> None:
        check(self)
        if self.latent_range is not None:
            object.__setattr__(self, "latent_range", tuple((low, high) for low, high in self.latent_range))
            if len(self.latent_range) != self.channels:
                raise UserError(f"latent_range has {len(self.latent_range)} entries for {self.channels} channels")
        object.__setattr__(self, "depths", tuple(self.depths))
        object.__setattr__(self, "scales", tuple(self.scales))
        if self.space not in ("normalised", "raw"):
            raise unknown_name("latent space", self.space, ("normalised", "raw"))
        if self.skip not in SKIPS:
            raise unknown_name("skip", self.skip, SKIPS)
        if self.head not in HEADS:
            raise unknown_name("head", self.head, HEADS)
        if not self.scales or set(self.scales) - {2, 4}:
            raise UserError(f"scales must be 2, 4 or both, not {list(self.scales)}")
        if self.embed_dim % self.num_heads:
            raise UserError(f"embed_dim {self.embed_dim} cannot be divided among num_heads {self.num_heads}")

    @classmethod
    def sized(cls, size: str, **settings: Any) -> "AdapterConfig":
        """Return the configuration of a size named in `SIZES`; `settings` are further fields, or replace the size's."""
        if size not in SIZES:
            raise unknown_name("adapter size", size, SIZES)
        return cls.from_dict({**SIZES[size], **settings})

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "AdapterConfig":
        """Return the configuration with these fields; an unknown one is refused with its near match."""
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise unknown_name("adapter setting", name, known)
        return cls(**settings)


class LatentUpscaler(UpscalerNetwork):
    """Enlarge latents 2 or 4 times in one pass, in the space that `config.space` names.

    >>> adapter = LatentUpscaler.from_pretrained("lua-tiny-d16")
    >>> adapter(torch.zeros(1, 16, 6, 9), scale=2).shape
    torch.Size([1, 16, 12, 18])
    """

    def __init__(self, config: AdapterConfig) -> None:
        self.config = config
        super().__init__(**{name: getattr(config, name) for name in NETWORK_SETTINGS})

    def make_heads(self, embed_dim: int, head_dim: int, channels: int) -> dict[str, nn.Module]:
        """Return the heads by name: one per scale, or one LIIF head for any."""
        if self.config.head == "liif":
            return {"liif": LiifHead(embed_dim, head_dim, channels)}
        return super().make_heads(embed_dim, head_dim, channels)

    def check(self, latents: Tensor, scale: float) -> None:
        """Refuse what this adapter was not made for.

        Raises:
            UserError: The latents have another number of channels, or there is no head for `scale` (a LIIF head with
                `skip="bicubic"` or `"none"` takes any), or `residual_bound` has no range to go by.
        """
        config = self.config
        if latents.shape[1] != config.channels:
            raise UserError(
                f"the latents have {latents.shape[1]} channels, but this adapter was made for {config.channels} "
                f"(codec {config.codec or 'unknown'}): give it latents of that codec, or an adapter for this one"
            )
        anywhere = config.head == "liif" and config.skip != "linear"
        if scale not in config.scales and not anywhere:
            raise UserError(f"this adapter has no head for scale {scale}; its scales are {list(config.scales)}")
        if config.residual_bound and config.latent_range is None:
            raise UserError("residual_bound needs latent_range, each channel's lowest and highest training value")

    def residual(self, features: Tensor, latents: Tensor, scale: float) -> Tensor:
        """Return what the head makes of the padded features, in the enlarged size of `latents`."""
        if self.config.head == "liif":
            return self.heads["liif"](crop(features, *latents.shape[2:]), *enlarged_size(latents, scale))
        return super().residual(features, latents, scale)

    def set_latent_range(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Note each channel's lowest and highest value in the training latents."""
        self.config = replace(self.config, latent_range=tuple(zip(low, high, strict=True)))
        self.latent_range = self.config.latent_range

    @torch.no_grad()
    def out_of_range(self, latents: Tensor) -> Tensor:
        """Return the share, in [0, 1], of each item's values that lie beyond the range of the training latents.

        Args:
            latents: (N, channels, H, W) in the adapter's space.

        Returns:
            (N,); NaN when the range is not known.
        """
        if self.config.latent_range is None:
            return latents.new_full((latents.shape[0],), torch.nan, dtype=torch.float32)
        low, high = self.range_of(latents.float())
        return ((latents < low) | (latents > high)).float().mean((1, 2, 3))

    @torch.no_grad()
    def for_codec(self, channels: int, codec: str, downscale: int) -> "LatentUpscaler":
        """Return a copy for another codec's normalised latents: trunk and heads stay, the ends that must are new.

        The first convolution is always new, as published; the last ones where the number of channels differs, which
        the paper does not say but two codecs of 16 and 4 channels need. A linear skip is new too: it starts at zero and
        is fitted before training.
        """
        config = replace(
            self.config, channels=channels, codec=codec, downscale=downscale, space="normalised", latent_range=None
        )
        other = LatentUpscaler(config)
        swapped = ("conv_first.", "skips.") + (() if channels == self.config.channels else LAST_LAYERS)
        kept = {name: value for name, value in self.state_dict().items() if not name.startswith(swapped)}
        other.load_state_dict(kept, strict=False)
        return other

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        revision: str | None = None,
        subfolder: str | None = None,
        sharpness: float = 0.0,
    ) -> "LatentUpscaler":
        """Load an adapter, ready for inference.

        Args:
            source: A zoo name, a folder written by `save_pretrained`, a Hugging Face repository id (also the authors'),
                or a `.pth` or `.safetensors` file laid out as the authors' `lua_flux.pth`.
            revision: Commit, branch or tag of a hub repository.
            subfolder: Folder inside the repository or local folder.
            sharpness: From 0, faithful, to 1, crisp, for an adapter with both sets of weights.

        Raises:
            UserError: Nothing usable is there, its tensors are too many, too few or of other shapes, or it has no
                crisp weights.
        """
        path = Path(source).expanduser()
        bare = path.is_file() and not (path.name == WEIGHTS_NAME and path.with_name(CONFIG_NAME).is_file())
        if sharpness and (bare or str(source) == AUTHORS_REPO or (path / AUTHORS_FILE).is_file()):
            raise UserError(f"{source} has one set of weights: leave sharpness at 0")
        if bare:
            return cls._from_file(path)
        if str(source) == AUTHORS_REPO:
            return cls._from_file(_download_authors(revision))
        if (path / AUTHORS_FILE).is_file():
            return cls._from_file(path / AUTHORS_FILE)
        folder = path.parent if path.is_file() else find_pretrained(source, revision, subfolder)
        settings = {name: value for name, value in read_config(folder).items() if name[0] != "_" and name != "auto_map"}
        model = cls(AdapterConfig.from_dict(settings))
        load_exactly(model, read_at(folder, sharpness), folder)
        return model.eval()

    @classmethod
    def _from_file(cls, path: Path) -> "LatentUpscaler":
        tensors = read_weights(path)
        model = cls(authors_config(tensors, path))
        load_exactly(model, tensors, path)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and safetensors weights into `folder`, for `from_pretrained`."""
        config = {"_class_name": type(self).__name__, **asdict(self.config)}
        write_pretrained(Path(folder), config, self.state_dict())

    def warm_start(self, path: str | Path) -> list[str]:
        """Copy the trunk of an official pixel SwinIR file into this adapter and return the names of what was copied.

        The heads always, and the first convolution unless it has the adapter's channels, stay as they are.

        Raises:
            UserError: The file cannot be read, or its trunk has other sizes.
        """
        path = Path(path)
        tensors = read_weights(path)
        theirs, config = trunk_sizes(tensors, path), self.config
        theirs.pop("channels")
        ours = {
            "embed_dim": config.embed_dim,
            "depths": config.depths,
            "num_heads": (config.num_heads,) * len(config.depths),
            "window_size": config.window_size,
            "mlp_ratio": config.mlp_ratio,
            "resi_connection": "1conv",
        }
        differing = [
            f"{name} {theirs[name]} where this has {ours[name]}" for name in ours if ours[name] != theirs[name]
        ]
        if differing:
            raise UserError(f"{path} cannot warm-start this adapter: it has {', '.join(differing)}")
        state = self.state_dict()
        copied = {name: tensors[name] for name in state if name in tensors and tensors[name].shape == state[name].shape}
        self.load_state_dict(copied, strict=False)
        return list(copied)


def authors_config(tensors: dict[str, Tensor], path: Path) -> AdapterConfig:
    """Return the configuration of a file laid out as the authors' FLUX weights, read off names and shapes."""
    sizes = trunk_sizes(tensors, path)
    scales = tuple(scale for scale in (2, 4) if f"heads.x{scale}.conv_before.0.weight" in tensors)
    heads, resi_connection = set(sizes.pop("num_heads")), sizes.pop("resi_connection")
    if not scales:
        raise UserError(f"{path} has no head for scale 2 or 4 (heads.x2, heads.x4): it is not a latent upscaler")
    if len(heads) > 1 or resi_connection != "1conv":
        raise UserError(f"{path} varies its attention heads or its convolutions from group to group: not supported")
    head_dim = len(tensors[f"heads.x{scales[0]}.conv_before.0.weight"])
    return AdapterConfig(
        **sizes, num_heads=heads.pop(), head_dim=head_dim, scales=scales, codec="flux", space="raw", skip="none"
    )


def _download_authors(revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(AUTHORS_REPO, AUTHORS_FILE, revision=revision))
    except Exception as error:  # the hub client raises a dozen unrelated types; all mean "could not fetch"
        raise UserError(
            f"{AUTHORS_REPO} could not be fetched from the hub ({type(error).__name__}); "
            f"download its {AUTHORS_FILE} elsewhere and give that file's path instead"
        ) from error

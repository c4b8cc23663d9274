"""LatentCodec: one contract over every autoencoder; raw latents inside, normalised latents outside."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from lua_lightning.errors import UserError, first_line
from lua_lightning.models.backends import BACKENDS, Backend, backend_of
from lua_lightning.models.factors import denormalise, normalise
from lua_lightning.models.known_codecs import KNOWN, PIXELS
from lua_lightning.models.patch_autoencoder import PatchAutoencoder
from lua_lightning.models.pretrained import CONFIG_NAME, find_pretrained, read_config, state_dict_sha256
from lua_lightning.models.tiny_autoencoder import TinyAutoencoder, holds_weights
from lua_lightning.tiling import tiled

OVERLAP = 16  # latents that neighbouring tiles share
CACHED = 128  # side in latents of tiles whose activations a processor's cache still holds for the most part


OWN_CLASSES: dict[str, Callable[[Path], nn.Module]] = {
    "PatchAutoencoder": PatchAutoencoder.from_pretrained,
    "AutoencoderTiny": TinyAutoencoder.from_pretrained,
}


def _load(name: str, folder: Path) -> nn.Module:
    if name in OWN_CLASSES:
        return OWN_CLASSES[name](folder)
    import diffusers

    try:
        model, report = getattr(diffusers, name).from_pretrained(folder, output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{folder} cannot be loaded as {name}: {first_line(error)}") from error
    found = [
        f"{len(names)} {kind.partition('_')[0]} (such as {min(map(str, names))})"
        for kind, names in report.items()
        if names
    ]
    if found:
        raise UserError(f"{folder} does not fit {name}: tensors {', '.join(found)}")
    return model


def variable_of(name: str) -> str:
    """Return the environment variable that may say where the weights of a codec known by name lie."""
    return f"LUA_LIGHTNING_{name.upper()}"


def _autoencoder(source: str | Path, revision: str | None, subfolder: str | None) -> nn.Module:
    known = KNOWN.get(str(source))
    if known and not Path(source).is_dir():
        source, subfolder = os.environ.get(variable_of(str(source)), known.repo), subfolder or known.subfolder
    path = Path(source).expanduser()
    if path.is_file() or (holds_weights(path) and not (path / CONFIG_NAME).is_file()):
        return TinyAutoencoder.from_pretrained(path)
    folder = find_pretrained(source, revision, subfolder or "vae")
    if not (folder / CONFIG_NAME).is_file():  # the authors publish TAEF2 without one
        return TinyAutoencoder.from_pretrained(folder)
    name = read_config(folder).get("_class_name")
    if not isinstance(name, str) or name not in BACKENDS:
        raise UserError(f"{folder / CONFIG_NAME} names the class {name!r}, not one of: {', '.join(BACKENDS)}")
    return _load(name, folder)


class LatentCodec(nn.Module):
    """A frozen autoencoder between images in [-1, 1] and normalised latents, the space the generator works in.

    `normalised = (raw - shift) * scale`, with the autoencoder's own factors, in float32 whatever the autoencoder's
    dtype. The autoencoder computes in its own dtype, also under a caller's autocast, because bfloat16 spoils the
    gradients of a float32 decoder. One that asks for it (`force_upcast`, as SDXL's does) computes in float32 where it
    is kept in float16. Its weights never train; `decode` lets gradients through to the latents.

    >>> codec = LatentCodec.from_pretrained("tiny-d16")
    >>> latents = codec.encode(torch.zeros(1, 3, 48, 64))
    >>> latents.shape, codec.decode(latents).shape
    (torch.Size([1, 16, 6, 8]), torch.Size([1, 3, 48, 64]))

    Attributes:
        channels: Latent channels.
        downscale: Pixels per latent along each side.
        source: The name, folder or repository id it was loaded from.
        revision: Commit of a hub repository, when one was asked for.
        encoder_reach: Latents around a place that matter when it is encoded, 0 for none; None for an unknown number.
        decoder_reach: The same of decoding. Where it is known, tiles show no seam.
        mixed_precision: Whether a float32 autoencoder multiplies in bfloat16: faster, with less exact gradients.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, model: nn.Module, backend: Backend, source: str, revision: str | None = None):
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.channels, self.downscale = backend.channels, backend.downscale
        self.source, self.revision = source, revision
        self.mixed_precision = False
        self._encode, self._decode = backend.encode, backend.decode
        self.encoder_reach, self.decoder_reach = backend.encoder_reach, backend.decoder_reach
        self.register_buffer("shift", backend.shift.float(), persistent=False)
        self.register_buffer("scale", backend.scale.float(), persistent=False)

    @classmethod
    def from_pretrained(
        cls, source: str | Path, revision: str | None = None, subfolder: str | None = None
    ) -> "LatentCodec":
        """Load a codec by embedded name, known name, local folder or hub id.

        Args:
            source: `tiny-d16`, `tiny-d4`; `sdxl`, `sd3`, `flux`, `flux2` and their tiny autoencoders `taesdxl`,
                `taesd3`, `taef1`, `taef2`; `rgb` for the pixels themselves (3 channels, downscale 1); a local folder
                or a hub id in diffusers' folder format; or a tiny autoencoder's `.safetensors` or `.pth` file. For a
                known name the environment variable `LUA_LIGHTNING_<NAME>` may name a folder or file to load instead.
            revision: Commit, branch or tag of a hub repository.
            subfolder: Folder that holds the autoencoder inside a pipeline's repository, usually `vae`.

        Raises:
            UserError: Nothing is found under `source`, it holds a class that is no known autoencoder, or its tensors
                are missing, too many or of other shapes.
        """
        if str(source) == PIXELS:
            one = torch.ones(1, 1, 1, 1)
            return cls(nn.Identity(), Backend(3, nn.Identity(), nn.Identity(), 0 * one, one, downscale=1), PIXELS)
        return cls.of(_autoencoder(source, revision, subfolder), str(source), revision)

    @classmethod
    def of(cls, model: nn.Module, source: str, revision: str | None = None) -> "LatentCodec":
        """Return the codec of an autoencoder that is loaded already, such as a pipeline's; it is frozen.

        Raises:
            UserError: Its class is no known autoencoder.
        """
        return cls(model, backend_of(model, source), source, revision)

    def _apply(self, fn: Callable, recurse: bool = True) -> "LatentCodec":
        """Move the factors alone where accelerate's hooks place the autoencoder: they know where it must be."""
        offloaded = any(hasattr(module, "_hf_hook") for module in self.model.modules())
        return super()._apply(fn, recurse and not offloaded)

    @property
    def device(self) -> torch.device:
        """Where the autoencoder computes."""
        return self.shift.device

    @property
    def dtype(self) -> torch.dtype:
        """The autoencoder's dtype; float32 for `rgb`."""
        return next((weight.dtype for weight in self.model.parameters() if weight.is_floating_point()), torch.float32)

    @contextmanager
    def _precision(self) -> Iterator[torch.dtype]:
        """Yield the dtype to compute in; a float16 autoencoder that overflows there is float32 meanwhile."""
        kept = self.dtype
        upcast = kept == torch.float16 and getattr(getattr(self.model, "config", None), "force_upcast", False)
        if not upcast:
            yield kept
            return
        self.model.float()
        try:
            yield torch.float32
        finally:
            self.model.to(kept)

    def _apply_model(self, function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """Return `function(inputs)` as float32, computed in the autoencoder's dtype."""
        mixed = torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.mixed_precision)
        with mixed, self._precision() as dtype:
            return function(inputs.to(dtype)).float()

    def sha256(self) -> str:
        """Return a hash of the weights and of the normalisation."""
        return state_dict_sha256({**self.model.state_dict(), "shift": self.shift, "scale": self.scale})

    def train(self, mode: bool = True) -> "LatentCodec":
        """Stay in evaluation mode whatever the parent module does."""
        return super().train(False)

    def normalise(self, raw: Tensor) -> Tensor:
        """Return (raw - shift) * scale as float32; same shape."""
        return normalise(raw, self.shift, self.scale)

    def denormalise(self, latents: Tensor) -> Tensor:
        """Return latents / scale + shift, the autoencoder's raw space, as float32; same shape."""
        return denormalise(latents, self.shift, self.scale)

    @torch.no_grad()
    def encode(self, images: Tensor, tile: int | None = None) -> Tensor:
        """Return normalised latents (N, C, H/8, W/8), float32, of images (N, 3, H, W) in [-1, 1].

        Args:
            images: H and W multiples of `downscale`.
            tile: Side in pixels of the tiles that a large image is encoded in; None encodes it at once. The tiles make
                no difference where `encoder_reach` is known.

        Raises:
            UserError: The shape does not fit.
        """
        height, width = images.shape[-2:]
        if images.shape[1] != 3 or height % self.downscale or width % self.downscale:
            raise UserError(
                f"cannot encode images of shape {tuple(images.shape)}: "
                f"3 channels and sides that are multiples of {self.downscale} are needed"
            )
        if tile:
            shrink, overlap = Fraction(1, self.downscale), OVERLAP * self.downscale
            reach = None if self.encoder_reach is None else self.encoder_reach * self.downscale
            encode = partial(self._apply_model, self._encode)
            return self.normalise(tiled(encode, images, shrink, tile, overlap, reach=reach))
        return self.normalise(self._apply_model(self._encode, images))

    def decode(self, latents: Tensor, tile: int | None = None, check_finite: bool = True) -> Tensor:
        """Return images (N, 3, 8H, 8W), float32 around [-1, 1] and not clamped, of normalised latents (N, C, H, W).

        Args:
            latents: Normalised latents of any dtype; gradients flow through to them.
            tile: Side in latents of the tiles that large latents are decoded in; None decodes them at once, or in tiles
                of `CACHED` latents where these make no difference and no gradients are asked for. The time is then
                proportional to the size, and the memory that decoding needs beside the image is bounded.
            check_finite: Whether to refuse values that are not finite where no gradients are asked for. The check makes
                the host wait for the device.

        Raises:
            UserError: The channels do not fit; or `check_finite` found latents or images that are not finite.
        """
        if latents.shape[1] != self.channels:
            raise UserError(f"the codec {self.source} has {self.channels} latent channels, not {latents.shape[1]}")
        raw = self.denormalise(latents)

        def decode(part: Tensor) -> Tensor:
            return self._apply_model(self._decode, part)

        if tile is None and self.decoder_reach is not None and not torch.is_grad_enabled():
            tile = CACHED
        reach = self.decoder_reach
        images = tiled(decode, raw, self.downscale, tile, OVERLAP, reach=reach) if tile else decode(raw)
        if check_finite and not torch.is_grad_enabled():
            problem = what_is_not_finite(latents, images, self.source, self.dtype)
            if problem:
                raise UserError(problem)
        return images


def what_is_not_finite(latents: Tensor, images: Tensor, source: str, dtype: torch.dtype) -> str | None:
    """Return what is wrong where decoded images, or the latents they are of, hold values that are not finite.

    Args:
        latents: What was decoded.
        images: What came of it.
        source: What decoded it.
        dtype: What it computes in.
    """
    if torch.isfinite(images.sum()):
        return None
    broken = [float((~torch.isfinite(values)).float().mean()) for values in (latents, images)]
    if broken[0]:
        return (
            f"{100 * broken[0]:.3g} % of the latents are not finite numbers, so there is no image to decode: what "
            "made them overflowed; run the generator or the adapter in bfloat16 or float32"
        )
    if broken[1]:
        return (
            f"{source} decoded finite latents to {100 * broken[1]:.3g} % values that are not finite: it "
            f"overflows in {dtype}; load it in bfloat16 or float32"
        )
    return None

"""The embedded autoencoder: a linear patch code (PCA) with learned residuals; see `patch_network.py`."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from lua_lightning.bounds import Within, check
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.models.patch_network import PatchNetwork
from lua_lightning.models.pretrained import find_pretrained, read_config, read_weights, write_pretrained

NETWORK_SETTINGS = ("latent_channels", "patch_size", "width", "encoder_blocks", "decoder_blocks")


@dataclass(frozen=True)
class PatchAutoencoderConfig:
    """The architecture and the latent statistics of a `PatchAutoencoder`."""

    latent_channels: Annotated[int, Within(1, 192)] = 16
    """Channels of the latents."""
    patch_size: Annotated[int, Within(1, 64)] = 8
    """Side of a patch in pixels, which is also the downscale factor."""
    width: Annotated[int, Within(1, 4096)] = 128
    """Channels of the residual networks."""
    encoder_blocks: Annotated[int, Within(0, 100)] = 3
    """Residual blocks of the encoder. 0 leaves the linear code alone."""
    decoder_blocks: Annotated[int, Within(0, 100)] = 5
    """Residual blocks of the decoder."""
    scaling_factor: Annotated[float, Within(0, 1e6, above=True)] = 1.0
    """Factor of the normalisation: normalised = (raw - shift_factor) * scaling_factor."""
    shift_factor: Annotated[float, Within(-1e6, 1e6)] = 0.0
    """Offset of the normalisation."""

    def __post_init__(self) -> None:
        check(self)


class PatchAutoencoder(PatchNetwork):
    """Encode images to latents of 1/8 their size, and back; deterministic, no sampling."""

    def __init__(self, config: PatchAutoencoderConfig):
        super().__init__(**{name: getattr(config, name) for name in NETWORK_SETTINGS})
        self.config = config

    def encode(self, images: Tensor) -> Tensor:
        """Return raw latents (N, C, H/8, W/8) of images (N, 3, H, W) in [-1, 1], H and W multiples of 8."""
        return self.to_latents(images)

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (N, 3, H, W), around [-1, 1] and not clamped, of raw latents (N, C, H/8, W/8)."""
        return self.to_images(latents)

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "PatchAutoencoder":
        """Load from a zoo name, a local folder or a hub id; half-precision weights become float32.

        Raises:
            UserError: The folder is not there, has an unknown setting, or its weights do not fit its config.
        """
        folder = find_pretrained(source)
        settings = {key: value for key, value in read_config(folder).items() if key[0] != "_" and key != "auto_map"}
        known = [field.name for field in fields(PatchAutoencoderConfig)]
        for key in settings:
            if key not in known:
                raise unknown_name(f"setting in {folder / 'config.json'}", key, known)
        model = cls(PatchAutoencoderConfig(**settings))
        weights = {name: tensor.float() for name, tensor in read_weights(folder).items()}
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(f"the weights in {folder} do not fit its config.json: {error}") from error
        return model

    def save_pretrained(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write config and weights into `folder`, weights as `dtype` to keep the file small."""
        config = {"_class_name": type(self).__name__, **asdict(self.config)}
        write_pretrained(folder, config, {name: tensor.to(dtype) for name, tensor in self.state_dict().items()})

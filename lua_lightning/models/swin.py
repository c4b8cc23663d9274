"""SwinIR (arXiv 2108.10257), the pixel model on the adapter's trunk; state-dict names equal the published weights'."""

import itertools
import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lua_lightning.errors import UserError, unknown_name
from lua_lightning.models.network import SwinTrunk, pad_to_window, upsample_layers
from lua_lightning.models.pretrained import load_exactly, read_weights

RGB_MEAN = (0.4488, 0.4371, 0.4040)


class SwinIR(SwinTrunk):
    """The pixel model: images in [0, 1], (B, in_chans, H, W) to (B, in_chans, H*upscale, W*upscale), any H and W.

    Args:
        upscale: 1 with upsampler "none"; otherwise 2, 3, 4 or 8.
        upsampler: "pixelshuffle" (classical, head width 64), "pixelshuffledirect" (light) or "none" (denoising; adds
            its input back).
        resi_connection: Convolution that ends each group, "1conv" or "3conv".
        img_range: Factor between [0, 1] and what the network sees; 255 for the published JPEG weights.
    """

    mean: Tensor

    def __init__(
        self,
        upscale: int = 2,
        in_chans: int = 3,
        embed_dim: int = 60,
        depths: tuple[int, ...] = (6, 6, 6, 6),
        num_heads: tuple[int, ...] = (6, 6, 6, 6),
        window_size: int = 8,
        mlp_ratio: float = 2.0,
        upsampler: str = "pixelshuffledirect",
        resi_connection: str = "1conv",
        img_range: float = 1.0,
    ) -> None:
        super().__init__(in_chans, embed_dim, depths, num_heads, window_size, mlp_ratio, resi_connection)
        self.upscale, self.upsampler, self.img_range = upscale, upsampler, img_range
        mean = RGB_MEAN if in_chans == 3 else (0.0,) * in_chans
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        if upsampler == "pixelshuffle":
            self.conv_before_upsample = nn.Sequential(nn.Conv2d(embed_dim, 64, 3, padding=1), nn.LeakyReLU(0.01))
            self.upsample = upsample_layers(64, upscale)
            self.conv_last = nn.Conv2d(64, in_chans, 3, padding=1)
        elif upsampler == "pixelshuffledirect":
            self.upsample = upsample_layers(embed_dim, upscale, out=in_chans)
        elif upsampler == "none":
            self.conv_last = nn.Conv2d(embed_dim, in_chans, 3, padding=1)
        else:
            raise unknown_name("upsampler", upsampler, ("pixelshuffle", "pixelshuffledirect", "none"))

    def forward(self, images: Tensor) -> Tensor:
        """Restore `images` (B, in_chans, H, W) in [0, 1]."""
        height, width = images.shape[2:]
        mean = self.mean.to(images.dtype)
        inputs = (pad_to_window(images, self.window_size) - mean) * self.img_range
        features = self.extract(inputs)
        if self.upsampler == "pixelshuffle":
            restored = self.conv_last(self.upsample(self.conv_before_upsample(features)))
        elif self.upsampler == "pixelshuffledirect":
            restored = self.upsample(features)
        else:
            restored = inputs + self.conv_last(features)
        return (restored / self.img_range + mean)[:, :, : height * self.upscale, : width * self.upscale]

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "SwinIR":
        """Load an official weights file (`.pth` or `.safetensors`); its configuration is read off the tensors' shapes.

        Raises:
            UserError: The file cannot be read, is not a SwinIR, or has tensors too many or too few.
        """
        path = Path(path)
        tensors = read_weights(path)
        trunk = trunk_sizes(tensors, path)
        if "conv_up1.weight" in tensors:
            raise UserError(f"{path} is a SwinIR with the nearest+conv upsampler, which is not supported")
        channels = trunk["channels"]
        if "conv_before_upsample.0.weight" in tensors:
            upsampler = "pixelshuffle"
            factors = [len(tensors[name]) // 64 for name in tensors if re.fullmatch(r"upsample\.\d+\.bias", name)]
            upscale = round(math.sqrt(math.prod(factors)))
        elif "upsample.0.weight" in tensors:
            upsampler = "pixelshuffledirect"
            upscale = round(math.sqrt(len(tensors["upsample.0.weight"]) / channels))
        else:
            upsampler, upscale = "none", 1
        trunk["in_chans"] = trunk.pop("channels")
        # Only the JPEG weights have windows of 7, and only they were trained on [0, 255].
        img_range = 255.0 if trunk["window_size"] == 7 else 1.0
        model = cls(upscale, upsampler=upsampler, img_range=img_range, **trunk)
        load_exactly(model, tensors, path)
        return model.eval()


def trunk_sizes(tensors: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """Return the arguments of the `SwinTrunk` whose weights these are, read off names and shapes.

    Raises:
        UserError: The tensors are not those of a SwinIR trunk.
    """
    block = "layers.{}.residual_group.blocks.{}."
    table = block + "attn.relative_position_bias_table"
    depths, num_heads = [], []
    while table.format(len(depths), 0) in tensors:
        group = len(depths)
        depths.append(next(j for j in itertools.count() if table.format(group, j) not in tensors))
        num_heads.append(tensors[table.format(group, 0)].shape[1])
    needed = ("conv_first.weight", (block + "mlp.fc1.weight").format(0, 0))
    if not depths or any(name not in tensors for name in needed):
        raise UserError(f"{path} does not hold SwinIR weights: it lacks {needed[0]} or the first block's tensors")
    embed_dim, channels = tensors["conv_first.weight"].shape[:2]
    return {
        "channels": channels,
        "embed_dim": embed_dim,
        "depths": tuple(depths),
        "num_heads": tuple(num_heads),
        "window_size": (math.isqrt(len(tensors[table.format(0, 0)])) + 1) // 2,
        "mlp_ratio": tensors[needed[1]].shape[0] / embed_dim,
        "resi_connection": "1conv" if "conv_after_body.weight" in tensors else "3conv",
    }

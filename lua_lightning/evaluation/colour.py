"""Colours as they are seen: CIE L*a*b* of sRGB images, and the CIEDE2000 difference."""

import math

import torch
from torch import Tensor

SRGB_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)  # D65, observer of 2 degrees


def lab(images: Tensor) -> Tensor:
    """Return sRGB images (N, 3, H, W) in [0, 1] as CIE L*a*b* of the same shape, for white D65."""
    linear = torch.where(images <= 0.04045, images / 12.92, ((images + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("ij,njhw->nihw", images.new_tensor(SRGB_TO_XYZ), linear)
    ratio = xyz / images.new_tensor(WHITE)[:, None, None]
    x, y, z = torch.where(ratio > 0.008856, ratio.clamp(min=0.008856) ** (1 / 3), 7.787 * ratio + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def ciede2000(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the CIEDE2000 difference (N, H, W) of colours in CIE L*a*b* (N, 3, H, W); doi 10.1002/col.20070."""
    chroma = (ours[:, 1:].norm(dim=1) + theirs[:, 1:].norm(dim=1)) / 2
    stretch = 1 + (1 - (chroma**7 / (chroma**7 + 25**7)).sqrt()) / 2
    (l1, c1, h1), (l2, c2, h2) = (_polar(colours, stretch) for colours in (ours, theirs))
    grey = c1 * c2 == 0
    turn = torch.remainder(h2 - h1 + math.pi, 2 * math.pi) - math.pi
    turn = torch.where(grey, 0.0, turn)
    hue = torch.where(grey, h1 + h2, h1 + turn / 2)
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    weight = (
        1
        - 0.17 * torch.cos(hue - math.radians(30))
        + 0.24 * torch.cos(2 * hue)
        + 0.32 * torch.cos(3 * hue + math.radians(6))
        - 0.20 * torch.cos(4 * hue - math.radians(63))
    )
    off = (light - 50) ** 2
    lightness = (l2 - l1) / (1 + 0.015 * off / (20 + off).sqrt())
    chromatic = (c2 - c1) / (1 + 0.045 * chroma)
    hues = 2 * (c1 * c2).sqrt() * torch.sin(turn / 2) / (1 + 0.015 * chroma * weight)
    degrees = torch.remainder(torch.rad2deg(hue), 360)
    bend = math.radians(60) * torch.exp(-(((degrees - 275) / 25) ** 2))
    rotation = -2 * (chroma**7 / (chroma**7 + 25**7)).sqrt() * torch.sin(bend)
    squares = lightness**2 + chromatic**2 + hues**2 + rotation * chromatic * hues
    return squares.clamp(min=0).sqrt()


def _polar(colours: Tensor, stretch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return lightness, chroma and hue in radians, with the a* axis stretched."""
    light, a, b = colours.unbind(1)
    return light, torch.hypot(a * stretch, b), torch.atan2(b, a * stretch)

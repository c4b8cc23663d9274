"""The loss terms as pure functions of prediction and target, and the one table that names them."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lua_lightning.errors import UserError, unknown_name


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference, a scalar; any equal shapes."""
    return (prediction.float() - target.float()).abs().mean()


def fft_magnitude(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference between the magnitudes of the channel-wise 2-D Fourier transforms.

    The paper gives neither normalisation nor reduction (arXiv 2511.10629, eq. for L_FFT). Here the transform is
    orthonormal and the reduction a mean, so that the term's weight does not depend on the crop's size. Computed in
    float32 whatever the autocast state.

    Args:
        prediction: (N, C, H, W).
        target: Same shape.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        spectra = (torch.fft.fft2(images.float(), norm="ortho").abs() for images in (prediction, target))
        ours, theirs = spectra
        return (ours - theirs).abs().mean()


LossTerm = Callable[[Tensor, Tensor], Tensor]
TERMS: dict[str, LossTerm] = {
    "latent_l1": l1,
    "latent_fft": fft_magnitude,
}


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse loss weights that name no known term, are negative, or are all zero.

    Raises:
        UserError: In one sentence, with the near match of an unknown name.
    """
    for name, weight in weights.items():
        if name not in TERMS:
            raise unknown_name("loss term", name, TERMS)
        if weight < 0:
            raise UserError(f"loss.{name}={weight} is negative: give a weight of 0 (leaves the term out) or more")
    if not any(weights.values()):
        raise UserError("no loss term has a weight above 0: set for example loss.latent_l1=1.0")


def weighted_loss(prediction: Tensor, target: Tensor, weights: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum, a scalar, and each term before its weight; terms of weight 0 are not computed."""
    parts = {name: TERMS[name](prediction, target) for name, weight in weights.items() if weight}
    total = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
    return total, {name: value.detach() for name, value in parts.items()}

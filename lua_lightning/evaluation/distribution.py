"""FID and KID between sets of features; KID without bias and with its interval, from one pass over the kernel."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from cleanfid.fid import frechet_distance

from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import Estimate, jackknifed

BLOCK_VALUES = 2**24  # of the kernel that are in memory at a time: 128 MiB in float64
FEWEST_IMAGES = 2


def fid(features: np.ndarray, reference: np.ndarray) -> float:
    """Return the Frechet distance between Gaussians fitted to two sets of features (N, D) and (M, D).

    With no more samples than dimensions the covariances are singular and the value mostly measures the sample count:
    see `meaningful`.
    """
    moments = [(samples.mean(0), np.cov(samples, rowvar=False)) for samples in (features, reference)]
    return float(frechet_distance(*moments[0], *moments[1]))


def meaningful(features: np.ndarray, reference: np.ndarray) -> bool:
    """Return whether there are more samples than dimensions, below which a Frechet distance says little."""
    return min(len(features), len(reference)) > features.shape[1]


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a set of images, one or several of each.

    Attributes:
        values: (N, D).
        images: Image of each feature, (N,); None where each is of an image of its own.
    """

    values: np.ndarray
    images: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray:
        """Image of each feature, (N,)."""
        return np.arange(len(self.values)) if self.images is None else np.asarray(self.images)

    @property
    def counts(self) -> np.ndarray:
        """Number of features of each image, (images,), in the order of labels."""
        return np.unique(self.labels, return_counts=True)[1].astype(float)


def kid(features: ImageFeatures, reference: ImageFeatures, same_images: bool = False, device: str = "cpu") -> float:
    """Return the kernel inception distance (arXiv 1801.01401), unbiased for any counts.

    It is the squared maximum mean discrepancy with the kernel (x.y / D + 1)^3: the mean over all pairs within each
    set, less twice the mean over all pairs across. Two features of one image are no pair: they are alike, and would
    raise the distance, by more the fewer images there are. All pairs are taken, where clean-fid's function averages
    over 100 random subsets; the two are equal where the counts are and are not above the size of a subset.

    Args:
        features: Of at least two images.
        reference: Likewise.
        same_images: The sets show the same images, such as photographs and what was made of them, under the same
            labels. Two features of one image are no pair across either.
        device: Where the kernel is computed.

    Raises:
        UserError: One of the sets is of fewer than two images.
    """
    sums = _Sums(features, reference, device)
    if not same_images:
        return float(sums.value())
    shared, ours, theirs = np.intersect1d(np.unique(features.labels), np.unique(reference.labels), return_indices=True)
    same = sums.across[ours, theirs].sum() if len(shared) else 0.0
    pairs = sums.ours.sum() * sums.theirs.sum() - (sums.ours[ours] * sums.theirs[theirs]).sum()
    return float(sums.within_ours() + sums.within_theirs() - 2 * (sums.across.sum() - same) / pairs)


def kid_estimate(features: ImageFeatures, reference: ImageFeatures, device: str = "cpu") -> Estimate:
    """Return KID with its interval, from the values without each image of either set: see `intervals.jackknifed`.

    Args:
        features: Of at least two images; of two alone there is no interval.
        reference: Likewise.
        device: Where the kernel is computed.

    Raises:
        UserError: One of the sets is of fewer than two images.
    """
    sums = _Sums(features, reference, device)
    value = sums.value()
    if min(len(sums.ours), len(sums.theirs)) <= FEWEST_IMAGES:
        return Estimate(float(value))
    low, high = jackknifed(value, *sums.without_each_image())
    return Estimate(float(value), float(low), float(high))


class _Sums:
    """The kernel, summed over the features of each pair of images: all that KID and its jackknife need."""

    def __init__(self, features: ImageFeatures, reference: ImageFeatures, device: str) -> None:
        self.ours, self.theirs = features.counts, reference.counts
        if min(len(self.ours), len(self.theirs)) < FEWEST_IMAGES:
            raise UserError(f"a kernel distance needs at least {FEWEST_IMAGES} images")
        self.across = kernel_sums(features, reference, device)
        self._within = [_without_diagonal(kernel_sums(images, images, device)) for images in (features, reference)]

    def within_ours(self) -> float:
        """Return the mean kernel over pairs of our images."""
        return self._within[0].sum() / _pairs(self.ours)

    def within_theirs(self) -> float:
        """Return the mean kernel over pairs of the reference's images."""
        return self._within[1].sum() / _pairs(self.theirs)

    def value(self) -> float:
        """Return the distance."""
        across = self.across.sum() / (self.ours.sum() * self.theirs.sum())
        return self.within_ours() + self.within_theirs() - 2 * across

    def without_each_image(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance without each of our images, (G,), and without each of the reference's, (H,)."""
        found = []
        sides = (
            (self._within[0], self.ours, self.theirs, self.across, self.within_theirs()),
            (self._within[1], self.theirs, self.ours, self.across.T, self.within_ours()),
        )
        for kernel, counts, others, across, rest in sides:
            left = counts.sum() - counts
            pairs = left**2 - ((counts**2).sum() - counts**2)
            within = (kernel.sum() - 2 * kernel.sum(1)) / pairs
            found.append(within + rest - 2 * (across.sum() - across.sum(1)) / (left * others.sum()))
        return found[0], found[1]


def _pairs(counts: np.ndarray) -> float:
    """Return the number of ordered pairs of features of two different images."""
    return counts.sum() ** 2 - (counts**2).sum()


def _without_diagonal(square: np.ndarray) -> np.ndarray:
    return square - np.diag(np.diag(square))


def cubic(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return KID's kernel (x.y / D + 1)^3 of every pair of rows (N, D) and (M, D), as (N, M)."""
    kernel = (one @ other.T).div_(one.shape[1]).add_(1)
    return kernel.square().mul_(kernel)


Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def kernel_sums(ours: ImageFeatures, theirs: ImageFeatures, device: str = "cpu", kernel: Kernel = cubic) -> np.ndarray:
    """Return a kernel summed over the features of each pair of images, (G, H).

    The kernel is computed in float64, `BLOCK_VALUES` of it at a time, so that memory does not grow with the square of
    the number of features. Of a set with itself each pair is computed once.
    """
    (one, member), (other, others) = (_on(features, device) for features in (ours, theirs))
    sums = torch.zeros((int(member.max()) + 1, int(others.max()) + 1), dtype=torch.float64, device=one.device)
    same, rows = ours is theirs, max(1, BLOCK_VALUES // len(other))
    mirrored = torch.zeros_like(sums)
    for start in range(0, len(one), rows):
        end = min(start + rows, len(one))
        _add_block(
            kernel,
            sums,
            one[start:end],
            other[start:end] if same else other,
            member[start:end],
            others[start:end] if same else others,
        )
        if same and end < len(one):
            _add_block(kernel, mirrored, one[start:end], other[end:], member[start:end], others[end:])
    return (sums + mirrored + mirrored.T if same else sums).cpu().numpy()


def _on(features: ImageFeatures, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features in float64 and the number of each one's image; on the CPU where a device has no float64."""
    place = "cpu" if device.startswith("mps") else device
    member = np.unique(features.labels, return_inverse=True)[1]
    values = torch.from_numpy(np.ascontiguousarray(features.values, dtype=np.float64))
    return values.to(place), torch.from_numpy(member).to(place)


def _add_block(
    kernel: Kernel,
    sums: torch.Tensor,
    one: torch.Tensor,
    other: torch.Tensor,
    member: torch.Tensor,
    others: torch.Tensor,
) -> None:
    values = kernel(one, other)
    by_image = torch.zeros((len(one), sums.shape[1]), dtype=values.dtype, device=values.device)
    sums.index_add_(0, member, by_image.index_add_(1, others, values))

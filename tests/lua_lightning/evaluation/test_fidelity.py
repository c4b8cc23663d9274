import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lua_lightning.evaluation.fidelity import mean_psnr, psnr, quantise, recovery, ssim


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand((3, 3, 48, 40), generator=generator) * 2 - 1
    return (target + 0.2 * torch.randn(target.shape, generator=generator)), target


def as_bytes(images):
    return (quantise(images) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def test_psnr_is_that_of_saved_files(images):
    ours, theirs = (as_bytes(values) for values in images)
    expected = [peak_signal_noise_ratio(b, a, data_range=255) for a, b in zip(ours, theirs, strict=True)]
    np.testing.assert_allclose(psnr(*images).numpy(), expected, atol=1e-4)
    assert mean_psnr(*images) == pytest.approx(np.mean(expected), abs=1e-4)


def test_ssim_is_the_original_papers(images):
    expected = [
        structural_similarity(a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for a, b in zip(*(as_bytes(values) for values in images), strict=True)
    ]
    # skimage averages away from the border, torchmetrics over all windows that fit: equal up to that border.
    np.testing.assert_allclose(ssim(*images).numpy(), expected, atol=5e-3)


def test_equal_images_have_a_finite_psnr(images):
    assert torch.isfinite(psnr(images[1], images[1])).all()
    assert psnr(images[1], images[1]).min() > 80


def test_values_outside_the_range_are_clamped():
    white = torch.ones(1, 3, 8, 8)
    assert psnr(white * 1.7, white) == psnr(white, white)


def test_recovery_is_zero_at_bicubic_and_one_at_the_ceiling():
    assert recovery(26.0, 26.0, 36.0) == 0
    assert recovery(36.0, 26.0, 36.0) == 1
    assert recovery(31.0, 26.0, 36.0) == pytest.approx(0.5)

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.data import astronaut, chelsea
from skimage.measure import block_reduce
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lua_lightning.evaluation.colour import ciede2000, lab
from lua_lightning.evaluation.fidelity import colour_shift, mean_psnr, psnr, quantise, recovery, ssim


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


def test_colours_and_their_differences_are_those_of_scikit_image():
    one, other = astronaut()[:300, :400] / 255, chelsea()[:300, :400] / 255
    one[:100] = other[:100, :, :1]  # grey, whose hue says nothing
    one[100:150], other[:50] = 0, 1
    ours, theirs = (torch.from_numpy(image).permute(2, 0, 1)[None] for image in (one, other))
    np.testing.assert_allclose(lab(ours)[0].permute(1, 2, 0), rgb2lab(one), atol=1e-6)
    expected = deltaE_ciede2000(rgb2lab(one), rgb2lab(other))
    np.testing.assert_allclose(ciede2000(lab(ours), lab(theirs))[0], expected, atol=1e-5)


def test_colour_shift_is_the_mean_difference_of_reduced_images(images):
    expected = [
        deltaE_ciede2000(*(rgb2lab(block_reduce(image / 255, (8, 8, 1), np.mean)) for image in pair)).mean()
        for pair in zip(*(as_bytes(values) for values in images), strict=True)
    ]
    np.testing.assert_allclose(colour_shift(*images).numpy(), expected, atol=1e-4)
    assert colour_shift(images[1], images[1]).tolist() == [0, 0, 0]


def test_lost_detail_is_no_colour_shift_but_a_cast_is(images):
    photo = torch.from_numpy(chelsea()[:240, :320] / 127.5 - 1).permute(2, 0, 1)[None].float()
    blurred = torch.nn.functional.avg_pool2d(photo, 5, 1, 2)
    cast = photo + torch.tensor([0.1, 0, 0])[:, None, None]
    assert psnr(blurred, photo) < psnr(cast, photo) + 5
    assert colour_shift(blurred, photo) < 0.3 * colour_shift(cast, photo)

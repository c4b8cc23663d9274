import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter

from lua_lightning.config import LossOptions
from lua_lightning.errors import UserError
from lua_lightning.evaluation.perceptual import efficientnet_lite0
from lua_lightning.training.losses import TERMS, check_weights, compute_terms, eagle_filter, fft_magnitude

DEFAULT = LossOptions()


def pair(shape=(2, 3, 16, 28)):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def l1(a, b, options, scale):
    return np.abs(a - b).mean()


def fft(a, b, options, scale):
    difference = np.abs(np.abs(np.fft.fft2(a, norm=options.fft_norm)) - np.abs(np.fft.fft2(b, norm=options.fft_norm)))
    return difference.mean() if options.fft_reduction == "mean" else difference.sum() / len(a)


def downsample(a, b, options, scale):
    """Pillow reduces; its bicubic has the same support and coefficient."""
    factor = options.downsample_factor or scale

    def reduced(batch):
        size = (batch.shape[3] // factor, batch.shape[2] // factor)
        maps = [Image.fromarray(map_.astype(np.float32)) for item in batch for map_ in item]
        return np.stack([np.asarray(map_.resize(size, Image.Resampling.BICUBIC)) for map_ in maps])

    return np.abs(reduced(a) - reduced(b)).mean()


def high_frequency(a, b, options, scale):
    half = options.high_frequency_kernel // 2

    def residual(batch):
        sigma = options.high_frequency_sigma
        blurred = gaussian_filter(batch, (0, 0, sigma, sigma), mode="mirror", radius=(0, 0, half, half))
        return batch - blurred

    return np.abs(residual(a) - residual(b)).mean()


def eagle(a, b, options, scale):
    def spectra(item):
        luminance = np.tensordot([0.299, 0.587, 0.114], item, 1)
        kernel = np.array([[-3, 0, 3], [-10, 0, 10], [-3, 0, 3]], float)
        maps = []
        for scharr in (kernel, kernel.T):
            gradient = convolve(luminance, scharr[::-1, ::-1], mode="constant")
            rows, columns = gradient.shape[0] // 3, gradient.shape[1] // 3
            variance = np.array(
                [
                    [gradient[3 * i : 3 * i + 3, 3 * j : 3 * j + 3].var(ddof=1) for j in range(columns)]
                    for i in range(rows)
                ]
            )
            u, v = np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(columns), indexing="ij")
            frequency, cutoff = np.sqrt(u**2 + v**2), options.eagle_cutoff
            if options.eagle_high_pass == "lua":
                weight = 1 - np.exp(-(frequency**2) / (2 * cutoff**2))
            else:
                weight = 1 - np.exp(-((frequency - cutoff) ** 2) / 2)
            maps.append(weight * np.abs(np.fft.fft2(variance, norm=options.eagle_norm)))
        return np.stack(maps)

    per_item = [np.abs(spectra(one) - spectra(other)) for one, other in zip(a, b, strict=True)]
    if options.eagle_reduction == "sum":
        return np.mean([difference.sum() for difference in per_item])
    return np.mean([difference[0].mean() + difference[1].mean() for difference in per_item])


def perceptual(a, b, options, scale):
    """Features by the network, everything behind them in numpy."""
    network = efficientnet_lite0().eval()
    with torch.no_grad():
        ours, theirs = (network(torch.from_numpy((x * 127.5 + 0.5) / 128).float()) for x in (a, b))
    total = 0.0
    for one, other in zip(ours, theirs, strict=True):
        unit = [x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True) for x in (one, other)]
        total += ((unit[0] - unit[1]) ** 2).sum(1).mean()
    return total


REFERENCES = {
    "latent_l1": l1,
    "latent_fft": fft,
    "pixel_l1": l1,
    "pixel_fft": fft,
    "pixel_downsample": downsample,
    "pixel_high_frequency": high_frequency,
    "pixel_eagle": eagle,
    "pixel_perceptual": perceptual,
}
VARIANTS = [
    ("latent_fft", {"fft_norm": "backward", "fft_reduction": "sum"}),
    ("pixel_fft", {"fft_norm": "forward"}),
    ("pixel_downsample", {"downsample_factor": 4}),
    ("pixel_high_frequency", {"high_frequency_kernel": 7, "high_frequency_sigma": 1.7}),
    ("pixel_eagle", {"eagle_high_pass": "eagle"}),
    ("pixel_eagle", {"eagle_cutoff": 0.3, "eagle_reduction": "mean"}),
    ("pixel_eagle", {"eagle_norm": "backward"}),
]
CASES = {
    "random": pair(),
    "odd multiples": pair((1, 3, 14, 22)),
    "odd size": pair((1, 3, 11, 13)),
    "constant": (torch.full((1, 3, 8, 8), 0.3), torch.full((1, 3, 8, 8), -0.2)),
    "constant against noise": (torch.full((2, 3, 16, 28), 0.1), pair()[1]),
    "one pixel shift": (pair()[0], pair()[0].roll(1, dims=-1)),
}


def value(name, prediction, target, options=DEFAULT, scale=2):
    return TERMS[name].compute(prediction, target, options, scale).item()


def test_every_term_has_a_reference():
    assert set(REFERENCES) == set(TERMS)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("term", TERMS)
def test_terms_equal_numpy(term, case):
    prediction, target = CASES[case]
    if term == "pixel_downsample" and case == "odd size":
        prediction, target = prediction[..., :10, :12], target[..., :10, :12]
    expected = REFERENCES[term](prediction.double().numpy(), target.double().numpy(), DEFAULT, 2)
    assert value(term, prediction, target) == pytest.approx(expected, rel=2e-5, abs=1e-5)


@pytest.mark.parametrize(("term", "changes"), VARIANTS, ids=lambda item: str(item))
def test_variants_equal_numpy_and_differ_from_the_default(term, changes):
    options = dataclasses.replace(DEFAULT, **changes)
    prediction, target = CASES["random"]
    expected = REFERENCES[term](prediction.double().numpy(), target.double().numpy(), options, 2)
    assert value(term, prediction, target, options) == pytest.approx(expected, rel=2e-5)
    assert value(term, prediction, target) != pytest.approx(expected, rel=1e-3)


def test_the_downsample_factor_is_the_scale_by_default():
    prediction, target = CASES["random"]
    by_hand = dataclasses.replace(DEFAULT, downsample_factor=4)
    assert value("pixel_downsample", prediction, target, scale=4) == value(
        "pixel_downsample", prediction, target, by_hand, scale=2
    )


def test_the_published_high_pass_stops_the_mean_and_passes_the_highest_frequencies():
    weights = eagle_filter(8, 8, 0.5, "lua", torch.device("cpu"))
    assert weights[0, 0] == 0
    assert weights.argmax() == 4 * 8 + 4  # Nyquist in both directions
    assert weights[0, 4].item() == pytest.approx(1 - np.exp(-0.5))


@pytest.mark.parametrize("at", ["random", "constant"])
@pytest.mark.parametrize("term", TERMS)
def test_terms_vanish_and_have_finite_gradients_at_equality(term, at):
    prediction = CASES[at][0].clone().requires_grad_()
    loss = TERMS[term].compute(prediction, prediction.detach().clone(), DEFAULT, 2)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(prediction.grad).all()


@pytest.mark.parametrize("term", TERMS)
def test_gradients_are_those_of_finite_differences(term):
    prediction, target = pair((1, 3, 12, 12))
    prediction.requires_grad_()
    TERMS[term].compute(prediction, target, DEFAULT, 2).backward()
    direction = prediction.grad / prediction.grad.norm()
    step = 0.02
    with torch.no_grad():
        above, below = (value(term, prediction + sign * step * direction, target) for sign in (1, -1))
    assert (above - below) / (2 * step) == pytest.approx(prediction.grad.norm().item(), rel=0.03)


def test_magnitude_ignores_a_shift_that_l1_sees():
    prediction, target = CASES["one pixel shift"]
    assert fft_magnitude(prediction, target).item() == pytest.approx(0, abs=1e-6)
    assert value("latent_l1", prediction, target) > 0.1


@pytest.mark.parametrize("term", TERMS)
def test_terms_survive_bfloat16_autocast(term):
    prediction, target = (1000 * values for values in pair((1, 3, 64, 64)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = TERMS[term].compute(prediction, target, DEFAULT, 2)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(value(term, prediction, target))


def test_terms_of_weight_zero_are_not_computed():
    parts = compute_terms({"latent": pair()}, {"latent_l1": 2.0, "pixel_l1": 0.0}, DEFAULT, 2)
    assert list(parts) == ["latent_l1"]


def test_unknown_terms_name_the_near_match():
    with pytest.raises(UserError, match="did you mean 'latent_fft'"):
        check_weights({"latent_ftf": 1.0})


@pytest.mark.parametrize("shape", [(2, 3, 8, 7), (1, 2, 5, 8), (1, 1, 4, 2), (2, 1, 3, 1)])
def test_the_half_spectrum_stands_for_the_whole_one(shape):
    prediction, target = pair(shape)
    ours, whole = (prediction.clone().requires_grad_() for _ in range(2))
    half = fft_magnitude(ours, target)
    magnitudes = [torch.fft.fft2(images, norm="ortho").abs() for images in (whole, target)]
    full = (magnitudes[0] - magnitudes[1]).abs().mean()
    torch.testing.assert_close(half, full)
    for value in (half, full):
        value.backward()
    torch.testing.assert_close(ours.grad, whole.grad, rtol=1e-4, atol=1e-6)

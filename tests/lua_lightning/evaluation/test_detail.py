"""Metrics of single images, against OpenCV and scikit-image."""

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import stats
from skimage.data import astronaut, chelsea
from skimage.feature import graycomatrix

from lua_lightning.evaluation.detail import DETAIL, PATCH, clipped, glcm, image_metrics, sharpness
from lua_lightning.evaluation.registry import keys_of

PHOTOS = {"astronaut": astronaut()[:200, :260], "chelsea": chelsea()[:129, :128]}


def test_every_metric_of_single_images_has_its_function():
    assert list(DETAIL) == list(keys_of("images"))


@pytest.mark.parametrize("name", PHOTOS)
def test_sharpness_is_that_of_opencv(name):
    luma = np.asarray(Image.fromarray(PHOTOS[name]).convert("L"))
    assert sharpness(PHOTOS[name]) == pytest.approx(cv2.Laplacian(luma, cv2.CV_64F).var(), rel=1e-9)


@pytest.mark.parametrize("name", PHOTOS)
def test_the_co_occurrence_matrices_are_those_of_scikit_image(name):
    luma = np.asarray(Image.fromarray(PHOTOS[name]).convert("L")) // 4
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    entropies = []
    for top in range(0, luma.shape[0] - PATCH + 1, PATCH):
        for left in range(0, luma.shape[1] - PATCH + 1, PATCH):
            patch = luma[top : top + PATCH, left : left + PATCH]
            share = graycomatrix(patch, [1, 2, 3, 4], angles, levels=64, normed=True).reshape(64 * 64, -1)
            entropies += [-(column[column > 0] * np.log2(column[column > 0])).sum() for column in share.T]
    assert glcm(PHOTOS[name]) == pytest.approx(np.mean(entropies), rel=1e-9)


@pytest.mark.parametrize("measure", [sharpness, glcm])
def test_what_is_enlarged_has_less_detail(measure):
    photo = Image.fromarray(PHOTOS["astronaut"])
    enlarged = photo.resize((65, 50), Image.Resampling.BICUBIC).resize(photo.size, Image.Resampling.BICUBIC)
    assert measure(np.asarray(enlarged)) < measure(np.asarray(photo))
    assert measure(np.full((64, 64, 3), 90, np.uint8)) == 0


def test_clipped_values_are_those_at_the_ends():
    pixels = np.array([[[0, 1, 254], [255, 255, 7]]], dtype=np.uint8)
    assert clipped(pixels) == pytest.approx(3 / 6)


def test_means_have_intervals_and_small_images_a_reason(tmp_path):
    files = []
    for name, pixels in PHOTOS.items():
        files.append(tmp_path / f"{name}.png")
        Image.fromarray(pixels).save(files[-1])
    found = image_metrics(files)
    assert list(found) == list(DETAIL)
    assert "fits into one tile of 1024 px" in found["tile_seam"]["unavailable"]
    for key in ("sharpness", "glcm", "clipped"):
        values = [DETAIL[key](pixels) for pixels in PHOTOS.values()]
        assert found[key]["value"] == pytest.approx(np.mean(values))
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
        assert (found[key]["low"], found[key]["high"]) == pytest.approx(
            (np.mean(values) - half, np.mean(values) + half)
        )
    Image.fromarray(PHOTOS["chelsea"][:40]).save(files[0])
    small = image_metrics(files)
    assert "below the 64 px" in small["glcm"]["unavailable"]
    assert small["sharpness"]["value"] > 0
    assert image_metrics(files[:1])["sharpness"].keys() == {"value"}

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks import scoring
from benchmarks.config import BenchConfig
from benchmarks.scoring import Distributions, differences, feature_networks, reconstruction_rows, verdict
from lua_lightning.errors import UserError
from lua_lightning.evaluation.cmmd import cmmd
from lua_lightning.evaluation.distribution import ImageFeatures, fid
from lua_lightning.evaluation.features import FeatureNetwork
from lua_lightning.evaluation.intervals import CropScores, Estimate
from lua_lightning.evaluation.registry import keys_of


@pytest.fixture
def rows():
    def row(shift):
        return [CropScores(n, n // 2, {"psnr": 20.0 + n + shift, "ssim": 0.5 + 0.01 * n}) for n in range(8)]

    return {"lua": row(1.0), "lsr": row(0.0), "latent-bicubic": row(-2.0), "ceiling": row(6.0)}


def test_a_difference_is_paired_crop_by_crop(rows):
    """Crops differ by 7 dB, methods by exactly 1: the pairing leaves no spread."""
    found = differences(rows, "lua", "lsr")
    assert found["psnr"] == Estimate(pytest.approx(1), pytest.approx(1), pytest.approx(1))
    assert found["recovery"].value == pytest.approx(3 / 8 - 2 / 8)
    assert found["ssim"] == Estimate(0, 0, 0)


def test_better_is_a_statement_only_when_clear_of_zero():
    assert verdict("psnr", Estimate(0.5, 0.1, 0.9)) == "better"
    assert verdict("psnr", Estimate(-0.5, -0.9, -0.1)) == "worse"
    assert verdict("lpips/alex", Estimate(-0.5, -0.9, -0.1)) == "better"
    assert verdict("psnr", Estimate(0.5, -0.1, 1.1)) == "no clear difference"


def test_a_row_that_is_not_there_is_refused(rows):
    with pytest.raises(UserError, match="unknown row of the reconstruction track 'lus'"):
        differences(rows, "lus", "lsr")


def test_without_latent_bicubic_there_is_no_recovery(rows):
    del rows["latent-bicubic"]
    (lua, *_) = reconstruction_rows(rows, 512)
    assert lua["metrics"]["psnr"]["value"] == pytest.approx(24.5)
    assert "recovery" not in lua["metrics"]
    assert set(differences(rows, "lua", "lsr")) == {"psnr", "ssim"}


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Six images and four photographs, and a cheap network under each real name but one that is missing."""
    draw = np.random.default_rng(0)

    def image(path, side):
        Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
        return path

    def network(name):
        return FeatureNetwork(name, 16, lambda images: images[:, :, 3, ::8].flatten(1) / 255, name.ljust(64, "0"))

    names = ("effnet-lite0", "dinov2-vitl14", "clip-vitl14-336")
    missing = {"inception": "not here: make inception"}
    monkeypatch.setattr(scoring, "feature_networks", lambda config, device: ([*map(network, names)], missing))
    photographs = tuple(image(tmp_path / f"photo{n}.png", side) for n, side in enumerate((40, 40, 40, 20)))
    monkeypatch.setattr(scoring, "reference_images", lambda photos, folder: photographs)
    photos = SimpleNamespace(photos=[SimpleNamespace(width=side, height=side) for side in (40, 40, 40, 20)])
    benchmark = SimpleNamespace(patch=32, config=None, photos=photos)
    files = tuple(image(tmp_path / f"image{n}.png", 36) for n in range(6))
    return Distributions(benchmark, cache=tmp_path / "cache"), files, photographs, network("any")


def test_every_distance_between_sets_is_measured_or_says_why(sets):
    distributions, files, photographs, network = sets
    found = distributions.metrics(files)
    assert list(found) == list(keys_of("sets"))
    for key, entry in found.items():
        assert ("value" in entry) == (not key.endswith("/inception")), key
    assert found["patch-fid/inception"] == {"unavailable": "not here: make inception"}
    read = (np.asarray(Image.open(path)) for path in (*files, *photographs))
    features = network(read)
    ours, theirs = features[:6], features[6:]
    assert found["fd/dinov2-vitl14"]["value"] == found["fid/effnet-lite0"]["value"] == pytest.approx(fid(ours, theirs))
    assert found["cmmd/clip-vitl14-336"]["value"] == pytest.approx(cmmd(ImageFeatures(ours), ImageFeatures(theirs)))
    assert "comes from the small number of images" in found["cmmd/clip-vitl14-336"]["note"]
    assert found["patch-fd/dinov2-vitl14"]["value"] != found["fd/dinov2-vitl14"]["value"]


def test_one_image_has_no_distance_of_whole_images(sets):
    distributions, files, *_ = sets
    found = distributions.metrics(files[:1])
    assert found["fd/dinov2-vitl14"] == {"unavailable": "FD (DINOv2 ViT-L/14) needs at least 2 images"}
    assert "value" in found["patch-fd/dinov2-vitl14"]


def test_images_that_are_too_alike_have_a_reason(monkeypatch):
    def fails(ours, theirs):
        raise np.linalg.LinAlgError

    monkeypatch.setattr(scoring, "fid", fails)
    assert "too alike" in scoring.DISTANCES["fd"](*[ImageFeatures(np.zeros((3, 2)))] * 2, "cpu")["unavailable"]


def test_photographs_below_a_patch_leave_the_patch_distances_out(sets):
    distributions, files, *_ = sets
    distributions.patch_reference = ()
    found = distributions.metrics(files)
    assert "no photograph of 32 px" in found["patch-cmmd/clip-vitl14-336"]["unavailable"]
    assert "value" in found["cmmd/clip-vitl14-336"]


def test_a_network_that_is_not_here_is_named_with_its_command(tmp_path):
    (tmp_path / "empty").mkdir()
    empty = str(tmp_path / "empty")
    _, missing = feature_networks(BenchConfig(dinov2=empty, clip_large=empty))
    assert "make dinov2" in missing["dinov2-vitl14"]
    assert "make clip-large" in missing["clip-vitl14-336"]

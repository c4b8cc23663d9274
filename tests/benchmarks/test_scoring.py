import pytest

from benchmarks.scoring import differences, reconstruction_rows, verdict
from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import CropScores, Estimate


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

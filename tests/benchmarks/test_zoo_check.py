import json

import pytest

from benchmarks import zoo_check
from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import CropScores


def crop(sample, photo, ours, rival, perceptual=(0.5, 1.0)):
    values = {}
    for scale in ("x2", "x4"):
        values |= {f"{scale}/psnr": ours, f"{scale}/psnr_pixel_bicubic": rival}
        values |= {f"{scale}/psnr_photo_bicubic": rival + 1, f"{scale}/psnr_ceiling": 40.0}
        values |= dict(zip((f"{scale}/{zoo_check.PERCEPTUAL}", f"{scale}/{zoo_check.PERCEPTUAL}_pixel_bicubic"),
                           perceptual, strict=True))  # fmt: skip
    return CropScores(sample, photo, values)


def test_gains_are_over_bicubic_and_counted_by_photograph():
    crops = [crop(0, 0, 31.0, 30.0), crop(1, 0, 29.0, 30.5), crop(2, 1, 28.0, 27.0), crop(3, 2, 33.0, 31.0)]
    two, four = zoo_check.gains("lua-x", crops)
    assert (two.scale, four.scale, two.photos) == (2, 4, 3)
    assert two.gain.value == pytest.approx((1 - 1.5 + 1 + 2) / 4)
    assert two.gain.low < two.gain.value < two.gain.high
    assert two.better == pytest.approx(2 / 3)  # photograph 0 loses in the mean of its crops
    assert two.perceptual == pytest.approx(0.5)
    assert two.holds
    assert (two.bicubic, two.photo_bicubic, two.round_trip) == pytest.approx((29.625, 30.625, 40))
    assert zoo_check.Gain.of_entry(json.loads(json.dumps(two.entry()))) == two


@pytest.mark.parametrize(("ours", "status"), [(30.5, 0), (29.9, 1)])
def test_the_status_says_whether_every_adapter_is_above_bicubic(
    monkeypatch, capsys, photo_folder, tmp_path, ours, status
):
    monkeypatch.setattr(zoo_check, "measure", lambda *_: [crop(n, n, ours, 30.0) for n in range(3)])
    options = ["--photos", str(photo_folder), "--out", str(tmp_path / "gains.json")]
    assert zoo_check.main(["lua-tiny-d16", "lua-tiny-d4", *options]) == status
    out, err = capsys.readouterr()
    result = json.loads(out.splitlines()[-1])
    assert [gain["adapter"] for gain in result["gains"]] == ["lua-tiny-d16"] * 2 + ["lua-tiny-d4"] * 2
    assert result["gains"][0]["gain"]["value"] == pytest.approx(ours - 30)
    assert json.loads((tmp_path / "gains.json").read_text()) == result
    assert max(map(len, err.splitlines())) <= 80


def test_an_adapter_whose_autoencoder_is_not_here_is_named_and_others_decide(monkeypatch, capsys, photo_folder):
    def measured(name, *_):
        if name == "lua-tiny-d4":
            raise UserError("its autoencoder is elsewhere")
        return [crop(n, n, 31.0, 30.0) for n in range(3)]

    monkeypatch.setattr(zoo_check, "measure", measured)
    assert zoo_check.main(["--photos", str(photo_folder)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["not_measured"] == {"lua-tiny-d4": "its autoencoder is elsewhere"}
    assert "lua-tiny-d4 was not measured: its autoencoder is elsewhere" in " ".join(err.split())
    assert zoo_check.main(["lua-tiny-d4"]) != 0  # asked for by name


def test_only_adapters_for_use_are_judged():
    assert "lua-tiny-d16" in zoo_check.shipped()
    assert not {"swinir-tiny", "lsr-tiny-d16"} & set(zoo_check.shipped())

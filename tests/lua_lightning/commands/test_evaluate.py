import json
import shutil

import pytest

from lua_lightning.cli import main
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.pairs.dataset import PairDataset
from lua_lightning.pairs.photos import PhotoSet


@pytest.fixture
def command(tmp_path, photo_folder, codec_folder, cache_config):
    small = {"embed_dim": 8, "depths": (1,), "num_heads": 1, "window_size": 4, "head_dim": 8}
    LatentUpscaler(AdapterConfig(channels=4, **small)).save_pretrained(tmp_path / "adapter")
    shutil.copytree(photo_folder, tmp_path / "photos")
    settings = {
        "data.photos": tmp_path / "photos",
        "cache.folder": tmp_path / "cache",
        "cache.codec": codec_folder,
        "cache.crop_px": cache_config.crop_px,
        "cache.crops_per_photo": 1,
        "cache.held_out_crops_per_photo": cache_config.held_out_crops_per_photo,
    }
    overrides = [f"{key}={value}" for key, value in settings.items()]
    return ["evaluate", str(tmp_path / "adapter"), "experiments/stage1.yaml", *overrides]


@pytest.mark.parametrize(("options", "split"), [([], "test"), (["--split", "val"], "val")])
def test_it_measures_the_split_it_is_asked_for(command, cache, options, split, capsys):
    crops = len(PairDataset(cache, split))
    assert main([*command, *options]) == 0
    captured = capsys.readouterr()
    scores = json.loads(captured.out.splitlines()[-1])
    assert scores["crops"] == crops
    assert {name.partition("/")[0] for name in scores} == {"adapter", "crops", split}
    assert f"on {crops} {split} crops" in " ".join(captured.err.split())  # a long title is wrapped


def test_a_set_without_test_photographs_is_refused(command, tmp_path, capsys):
    photos = PhotoSet.load(tmp_path / "photos")
    kept = tuple(photo for photo in photos.photos if photo.split != "test")
    PhotoSet(photos.folder, photos.recipe, photos.settings, kept).save()
    assert main(command) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "has no test pairs" in error
    assert "bring more photographs" in error

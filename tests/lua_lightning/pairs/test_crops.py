import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from lua_lightning.images import downscale, read_image, to_tensor, to_uint8
from lua_lightning.pairs.cache import settings_of
from lua_lightning.pairs.crops import detail_map, dihedral, draw_apart, draw_positions, grid_positions
from lua_lightning.pairs.encoding import encode_crops
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.pairs.plan import plan_crops


@pytest.fixture
def half_sky():
    """Flat on the left, noise on the right."""
    image = torch.zeros(1, 3, 128, 256)
    image[..., 128:] = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    return image


def test_detail_is_the_mean_gradient_of_the_crop(half_sky):
    detail = detail_map(half_sky, 64)
    assert detail.shape == ((128 - 64) // 8 + 1, (256 - 64) // 8 + 1)
    assert detail[:, 0].max() < 1e-6 < 0.1 < detail[:, -1].min()


def test_crops_fall_on_detail_and_on_latents(half_sky):
    positions = draw_positions(half_sky, 64, 200, torch.Generator().manual_seed(1))
    assert all(top % 8 == 0 and left % 8 == 0 and left + 64 > 128 for top, left in positions)
    assert positions == draw_positions(half_sky, 64, 200, torch.Generator().manual_seed(1))


def test_validation_crops_do_not_overlap():
    image = torch.randn(1, 3, 256, 384, generator=torch.Generator().manual_seed(2))
    positions = draw_apart(image, 64, 10, torch.Generator().manual_seed(3))
    assert len(positions) >= 6
    for index, (top, left) in enumerate(positions):
        for other_top, other_left in positions[:index]:
            assert abs(top - other_top) >= 64 or abs(left - other_left) >= 64


def test_an_image_of_one_crop_gives_one_crop():
    assert draw_apart(torch.zeros(1, 3, 64, 64), 64, 5, torch.Generator().manual_seed(0)) == [(0, 0)]


def test_the_grid_tiles_without_overlap():
    assert grid_positions(130, 200, 64) == [(0, 0), (0, 64), (0, 128), (64, 0), (64, 64), (64, 128)]


def test_the_eight_symmetries_differ_and_start_with_the_identity():
    image = torch.arange(12.0).reshape(1, 3, 4)
    seen = {tuple(dihedral(image, index).flatten().tolist()) for index in range(8)}
    assert len(seen) == 8
    assert torch.equal(dihedral(image, 0), image)


@pytest.fixture
def photos(photo_folder):
    return PhotoSet.load(photo_folder)


def test_crops_of_reduced_photographs_share_the_number(photos, cache_config):
    config = dataclasses.replace(cache_config, reductions=[1, 2, 4], crops_per_photo=5)
    by_photo = {}
    for crop in plan_crops(photos, "train", config):
        by_photo.setdefault(crop.photo, []).append(crop)
    for crops in by_photo.values():  # photographs of 128 px: crops of 64 px fit into them halved, not quartered
        assert [crop.reduction for crop in crops] == [1, 1, 1, 2, 2]
        assert all(crop.top == crop.left == 0 for crop in crops if crop.reduction == 2)
    assert {crop.reduction for crop in plan_crops(photos, "val", config)} == {1}


def test_a_reduced_crop_is_cut_from_the_reduced_photograph(photos, cache_config, codec):
    config = dataclasses.replace(cache_config, reductions=[2], crops_per_photo=1, train_pixels=True)
    (crop, *_) = plan_crops(photos, "train", config)
    shard = encode_crops(photos, [crop], codec, None, config, pixels=True)
    photo = to_tensor(read_image(photos.path(photos.photos[crop.photo])))
    expected = dihedral(downscale(photo, 2), crop.symmetry)
    assert (shard["image"][0].numpy() == to_uint8(expected).transpose(2, 0, 1)).all()
    assert shard["crop"].tolist() == [[crop.photo, crop.top, crop.left, crop.symmetry, 2]]


@pytest.mark.parametrize("kernel", ["area", "lanczos"])
def test_the_kernel_makes_the_low_resolution_crops(photos, cache_config, codec, kernel):
    (crop, *_) = plan_crops(photos, "val", cache_config)
    other = dataclasses.replace(cache_config, lr_kernel=kernel)
    usual, made = (encode_crops(photos, [crop], codec, None, config, pixels=True) for config in (cache_config, other))
    image = torch.from_numpy(made["image"].numpy())
    by_pillow = {"area": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS}[kernel]
    planes = [
        np.asarray(Image.fromarray(plane.numpy().astype(np.float32)).resize((16, 16), by_pillow)) for plane in image[0]
    ]
    expected = codec.encode(torch.from_numpy(np.stack(planes))[None] / 127.5 - 1)
    torch.testing.assert_close(made["lr_x4"], expected, atol=1e-4, rtol=0)
    assert (made["lr_x4"] - usual["lr_x4"]).abs().max() > 0.01
    assert torch.equal(made["hr"], usual["hr"])


def test_settings_that_caches_made_before_lack_keep_their_fingerprints(photos, cache_config):
    usual = settings_of(cache_config, None, photos)
    assert not {"reductions", "lr_kernel"} & set(usual)
    other = dataclasses.replace(cache_config, reductions=[1, 2], lr_kernel="area")
    assert {"reductions", "lr_kernel"} <= set(settings_of(other, None, photos))

"""The plan of a size: exact where a scale is enough, never larger than asked, the aspect kept to a pixel."""

import random

import pytest

from lua_lightning.errors import UserError
from lua_lightning.sizes import fitted, plan_size, target


@pytest.mark.parametrize(
    ("source", "asked", "scale", "whole", "size"),
    [
        ((640, 480), {}, 2, (1280, 960), (1280, 960)),
        ((640, 480), {"scale": 2.0}, 2, (1280, 960), (1280, 960)),
        ((640, 480), {"scale": 3}, 4, (1920, 1440), (1920, 1440)),
        ((641, 481), {"scale": 1.5}, 2, (962, 722), (962, 722)),
        ((640, 480), {"scale": 0.25}, 2, (160, 120), (160, 120)),
        ((640, 480), {"size": (1920, 1080)}, 4, (1440, 1080), (1440, 1080)),
        ((640, 480), {"size": (1920, 1080), "fit": "crop"}, 4, (1920, 1440), (1920, 1080)),
        ((480, 640), {"size": (1080, 1080), "fit": "crop"}, 4, (1080, 1440), (1080, 1080)),
        ((480, 270), {"size": (1920, 1080)}, 4, (1920, 1080), (1920, 1080)),
        ((1000, 1000), {"megapixels": 4}, 2, (2000, 2000), (2000, 2000)),
        ((1500, 1000), {"megapixels": 4}, 2, (2449, 1633), (2449, 1633)),
        ((1, 1), {"size": (3, 2)}, 2, (2, 2), (2, 2)),
    ],
)
def test_plans(source, asked, scale, whole, size):
    plan = plan_size(*source, target(**asked), (2, 4))
    assert (plan.scale, plan.whole, plan.size) == (scale, whole, size)
    assert plan.enlarged == (source[0] * scale, source[1] * scale)


def test_any_plan_keeps_the_aspect_and_fits_its_size():
    dice = random.Random(0)
    for _ in range(2000):
        width, height = dice.randint(1, 900), dice.randint(1, 900)
        size = dice.randint(1, width * 4), dice.randint(1, height * 4)
        for fit in ("inside", "crop"):
            whole, cut = fitted(width, height, target(size=size, fit=fit))
            factor = max(whole[0] / width, whole[1] / height)
            assert abs(whole[0] - width * factor) <= 1 + width / height
            assert abs(whole[1] - height * factor) <= 1 + height / width
            if fit == "crop":
                assert cut == size
                assert whole[0] >= size[0]
                assert whole[1] >= size[1]
                assert whole[0] == size[0] or whole[1] == size[1]
            else:
                assert cut == whole
                assert whole[0] <= size[0]
                assert whole[1] <= size[1]
        inside = plan_size(width, height, target(size=size), (2, 4))
        left, top, right, bottom = inside.box
        assert (left, top, right, bottom) == (0, 0, *inside.size)
        assert inside.scale == 2 or inside.whole[0] > 2 * width or inside.whole[1] > 2 * height


def test_the_cut_is_in_the_middle():
    plan = plan_size(640, 480, target(size=(1920, 1080), fit="crop"), (2, 4))
    assert plan.box == (0, 180, 1920, 1260)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"scale": 5}, "at most 4 times"),
        ({"size": (2561, 1921)}, "of 640x480 pixels"),
        ({"megapixels": 100}, "ask for less"),
    ],
)
def test_more_than_the_largest_scale_is_refused(asked, said):
    with pytest.raises(UserError, match=said):
        plan_size(640, 480, target(**asked), (2, 4))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"scale": 0}, "--scale 0 must be above 0"),
        ({"scale": float("nan")}, "--scale nan"),
        ({"scale": 17}, "at most 16"),
        ({"size": (0, 5)}, "--size 0x5"),
        ({"megapixels": -1}, "--megapixels -1"),
        ({"scale": 2, "size": (9, 9)}, "--scale and --size both"),
        ({"scale": 2, "fit": "crop"}, "give --size too"),
        ({"size": (9, 9), "fit": "corp"}, "did you mean 'crop'"),
    ],
)
def test_what_makes_no_sense_is_refused(asked, said):
    with pytest.raises(UserError, match=said):
        target(**asked, prefix="--")

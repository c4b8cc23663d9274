"""Tiles must not show: exact for what looks at one place, close for a network."""

import itertools
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F

from lua_lightning.errors import UserError
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.tiling import ramp, starts, tiled


@pytest.mark.parametrize(("tile", "overlap"), [(16, 4), (16, 8), (33, 0), (50, 25), (80, 16)])
def test_pointwise_functions_are_unchanged_to_the_bit(tile, overlap):
    x = torch.randn(2, 3, 101, 77)
    assert torch.equal(tiled(lambda part: part * 2, x, 1, tile, overlap), x * 2)
    enlarged = tiled(lambda part: F.interpolate(part, scale_factor=4), x, 4, tile, overlap)
    assert torch.equal(enlarged, F.interpolate(x, scale_factor=4))


def test_reductions_cut_at_multiples():
    x = torch.randn(1, 3, 104, 72)
    assert torch.equal(
        tiled(lambda part: F.pixel_unshuffle(part, 8), x, Fraction(1, 8), 32, 16), F.pixel_unshuffle(x, 8)
    )


def test_neighbours_are_blended_linearly_away_from_their_borders():
    calls = iter([0.0, 1.0])
    blended = tiled(lambda part: torch.full_like(part, next(calls)), torch.zeros(1, 1, 4, 12), 1, 8, 4)
    expected = torch.tensor([0, 0, 0, 0, 0, 0.25, 0.75, 1, 1, 1, 1, 1])
    assert torch.equal(blended, expected.expand(1, 1, 4, 12))


def test_rows_and_columns_blend_as_the_product_of_their_ramps():
    calls = iter([1.0, 0.0, 0.0, 0.0])
    blended = tiled(lambda part: torch.full_like(part, next(calls)), torch.zeros(1, 1, 12, 12), 1, 8, 4)
    weights = torch.cat([torch.ones(4), 1 - ramp(4, blended), torch.zeros(4)])
    torch.testing.assert_close(blended[0, 0], weights[:, None] * weights)


def test_what_fits_in_a_tile_is_passed_on_whole():
    x = torch.randn(1, 2, 30, 64)
    seen = []
    assert tiled(lambda part: seen.append(part) or part, x, 1, 64, 16) is x
    assert len(seen) == 1


def test_no_tile_is_larger_than_asked():
    sizes = []
    tiled(lambda part: sizes.append(part.shape[-2:]) or part, torch.randn(1, 1, 70, 20), 1, 32, 8)
    assert set(sizes) == {(32, 20)}


@pytest.mark.parametrize("step", [1, 8])
def test_starts_cover_the_axis_and_keep_the_overlap(step):
    for size in range(step, 40 * step, step):
        found = starts(size, 8 * step, 2 * step, step)
        assert found[0] == 0
        assert found[-1] + 8 * step >= size
        assert found[-1] == max(size - 8 * step, 0)
        assert all(near % step == 0 and 0 < far - near <= 6 * step for near, far in itertools.pairwise(found))


def test_an_adapter_in_tiles_is_close_to_the_whole():
    torch.manual_seed(0)
    config = AdapterConfig(embed_dim=16, depths=(2,), num_heads=2, window_size=8, head_dim=16, skip="none")
    adapter = LatentUpscaler(config)
    latents = torch.randn(1, 16, 72, 56)
    with torch.inference_mode():
        for scale in (2, 4):
            whole = adapter(latents, scale)
            parts = tiled(lambda part, scale=scale: adapter(part, scale), latents, scale, 32, 16)
            assert parts.shape == whole.shape
            error = (parts - whole).square().mean().sqrt()
            assert 0 < error < 0.05 * whole.std()


def test_gradients_pass_through_the_tiles():
    x = torch.randn(1, 1, 20, 20, requires_grad=True)
    tiled(lambda part: 3 * part, x, 1, 8, 4).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 3.0))


@pytest.mark.parametrize(
    ("size", "scale", "tile", "overlap", "complaint"),
    [
        (64, 1, 16, 9, "between 0 and half the tile, 8"),
        (64, Fraction(1, 8), 20, 8, "tile 20 must be a multiple of 8"),
        (60, Fraction(1, 8), 32, 8, "height 60 must be a multiple of 8"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(size, scale, tile, overlap, complaint):
    with pytest.raises(UserError, match=complaint):
        tiled(lambda part: part, torch.zeros(1, 1, size, size), scale, tile, overlap)

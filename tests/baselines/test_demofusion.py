import pytest
import torch

from baselines.demofusion import (
    FusionSettings,
    averaged_over_windows,
    dilated_step,
    fading,
    fused_denoising,
    join_dilated,
    split_dilated,
    view_starts,
    with_statistics,
)
from baselines.denoising import Denoiser

PLAIN = FusionSettings(skip_weight=0.0, global_weight=0.0, jitter=False)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 17), (8, 30), (31, 64)])
@pytest.mark.parametrize("jitter", [False, True])
def test_windows_average_to_the_identity_and_leave_no_gap(height, width, jitter):
    latents = noise(1, 4, height, width)
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed) if jitter else None
        result = averaged_over_windows(latents, 8, 4, lambda views, corners: views, draw)
        assert torch.allclose(result, latents, atol=1e-6)


def test_jitter_moves_windows_and_corners_tell_where_they_are():
    latents = torch.arange(20.0).view(1, 1, 1, 20).expand(1, 1, 20, 20).clone()
    seen = []

    def step(views, corners):
        for view, (_, left) in zip(views, corners, strict=True):
            inside = view[0, 8] if left >= 0 else view[0, 8, -left:]
            assert inside[0] == max(left, 0)  # the value of the column that the corner names
            seen.append(left)
        return views

    averaged_over_windows(latents, 16, 4, step, torch.Generator().manual_seed(3))
    assert len(set(seen)) > len(view_starts(20, 16, 4))


def test_every_window_but_the_last_is_a_stride_apart():
    assert view_starts(16, 8, 4) == [0, 4, 8]
    assert view_starts(18, 8, 4) == [0, 4, 8, 10]
    assert view_starts(8, 8, 4) == [0]


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_dilated_parts_interleave_back(factor):
    latents = noise(1, 3, 12, 24)
    parts = split_dilated(latents, factor)
    assert parts[1].equal(latents[0, :, ::factor, 1::factor])
    assert join_dilated(parts, factor).equal(latents)


@pytest.mark.parametrize("shape", [(12, 12), (13, 17)])
def test_the_global_path_steps_the_unblurred_latents(shape):
    latents, asked = noise(1, 4, *shape), []

    def predict(parts):
        asked.append(parts)
        return torch.zeros_like(parts)

    result = dilated_step(latents, 3, 0.8, predict, lambda output, parts: parts + output)
    assert result.equal(latents)
    if shape == (12, 12):  # without padding
        blurred = join_dilated(asked[0], 3)
        assert blurred.diff(dim=-1).abs().mean() < 0.8 * latents.diff(dim=-1).abs().mean()
        assert torch.allclose(blurred.mean(), latents.mean(), atol=1e-5)
        assert torch.allclose(blurred.std(), latents.std(), atol=1e-5)


def test_statistics_are_restored():
    moved = with_statistics(3 * noise(1, 4, 8, 8) + 2, noise(1, 4, 8, 8, seed=5))
    like = noise(1, 4, 8, 8, seed=5)
    assert torch.allclose(torch.stack([moved.mean(), moved.std()]), torch.stack([like.mean(), like.std()]), atol=1e-6)


def test_fading_falls_from_one_to_zero():
    values = [fading(time, 1000) for time in (1000, 750, 500, 0)]
    assert values == pytest.approx([1, 0.8535534, 0.5, 0])


def test_without_its_mechanisms_it_is_plain_sampling(generator):
    """Weights 0 and a window that covers everything: the pipeline's own loop, from the same noise."""
    denoiser = Denoiser(generator, "a lake", (16, 16))
    times = denoiser.timesteps(4)
    clean = noise(1, 4, 16, 16, seed=1)
    with torch.inference_mode():
        ours = fused_denoising(denoiser, clean, times, 2, 16, PLAIN, seed=9)
        first = torch.randn(clean.shape, generator=torch.Generator().manual_seed(9))
        start = denoiser.add_noise(clean, first, times[0])
        plain = generator.pipe(
            prompt="a lake",
            height=128,
            width=128,
            num_inference_steps=4,
            guidance_scale=generator.facts.guidance_scale,
            latents=start,
            output_type="latent",
        ).images
    assert float((ours - plain).abs().max()) < 1e-4


@pytest.mark.parametrize("weights", [{"skip_weight": 0.0}, {"global_weight": 0.0}, {"jitter": False}])
def test_each_mechanism_changes_the_image(generator, weights):
    denoiser = Denoiser(generator, "a lake", (16, 16))
    clean, times = noise(1, 4, 16, 16, seed=1), denoiser.timesteps(3)
    with torch.inference_mode():
        full = fused_denoising(denoiser, clean, times, 2, 8, FusionSettings(), seed=9)
        less = fused_denoising(denoiser, clean, times, 2, 8, FusionSettings(**weights), seed=9)
    assert float((full - less).abs().max()) > 1e-3


def test_with_the_whole_skip_residual_it_ends_at_the_enlarged_latents(generator):
    """An exponent of 0 keeps the residual at full weight: every step starts at the noised clean latents."""
    denoiser = Denoiser(generator, "a lake", (16, 16))
    clean, times = noise(1, 4, 16, 16, seed=1), denoiser.timesteps(20)
    settings = FusionSettings(cosine_skip=0.0, global_weight=0.0)
    with torch.inference_mode():
        held = fused_denoising(denoiser, clean, times, 2, 8, settings, seed=9)
        free = fused_denoising(denoiser, clean, times, 2, 8, PLAIN, seed=9)
    assert (held - clean).abs().mean() < 0.5 * (free - clean).abs().mean()


def test_the_view_batch_does_not_change_the_image(generator):
    images = []
    for batch in (1, 3, 8):
        denoiser = Denoiser(generator, "a lake", (24, 24), batch)
        clean, times = noise(1, 4, 24, 24, seed=1), denoiser.timesteps(3)
        with torch.inference_mode():
            images.append(fused_denoising(denoiser, clean, times, 3, 8, FusionSettings(view_batch=batch), seed=9))
    for other in images[1:]:
        assert float((images[0] - other).abs().max()) < 1e-4


def test_windows_do_not_advance_the_scheduler(generator):
    denoiser = Denoiser(generator, "a lake", (8, 8))
    times = denoiser.timesteps(4)
    latents, output = noise(1, 4, 8, 8), noise(1, 4, 8, 8, seed=1)
    first = denoiser.step(output, times[1], latents)
    denoiser.step(output, times[1], latents)
    denoiser.step(output, times[3], latents)
    assert denoiser.step(output, times[1], latents).equal(first)

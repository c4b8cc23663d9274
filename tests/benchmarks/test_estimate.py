import pytest

from baselines.demofusion import DemoFusion
from baselines.denoising import Denoiser
from baselines.registry import build_method
from benchmarks.estimate import native_passes, seconds_per_pass
from tests.baselines.conftest import BASE, generator, world  # noqa: F401


@pytest.mark.parametrize("name", ["demofusion", "lsrna-demofusion"])
@pytest.mark.parametrize("factor", [2, 4])
def test_passes_are_those_that_a_method_really_takes(name, factor, world, monkeypatch, tmp_path):  # noqa: F811
    """Counted in the network's own batches: every latent that goes through it at the base size."""
    counted = []
    predict = Denoiser.predict
    monkeypatch.setattr(
        Denoiser, "predict", lambda self, latents, *rest: counted.append(len(latents)) or predict(self, latents, *rest)
    )
    settings = []
    if name == "lsrna-demofusion":
        world.adapter.save_pretrained(tmp_path)
        settings = [f"weights={tmp_path}"]
    world.steps = 5
    method = build_method(name, world, settings)
    assert isinstance(method, DemoFusion)
    method.run(world.start("a lake", 1, BASE), BASE * factor)
    assert sum(counted) == native_passes(name, factor, 5)


def test_a_pass_takes_time(world):  # noqa: F811
    assert 0 < seconds_per_pass(world, BASE) < 5


def test_methods_without_a_diffusion_pass_take_none():
    assert native_passes("lua", 4, 10) == 0
    assert native_passes("direct", 2, 10) > 10

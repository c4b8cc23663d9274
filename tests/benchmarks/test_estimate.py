import pytest

from baselines.demofusion import DemoFusion
from baselines.denoising import Denoiser
from baselines.registry import build_method
from benchmarks.benchmark import resolve
from benchmarks.config import BenchConfig
from benchmarks.estimate import estimate, native_passes, seconds_per_pass, seconds_per_pixel
from tests.baselines.conftest import BASE, generator, world  # noqa: F401
from tests.conftest import write_photo_set


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


@pytest.fixture
def benchmark(tmp_path):
    photos = write_photo_set(tmp_path / "photos", ["train", "val", "test"], size=512)
    methods = ("lua", "lsr", "latent-bicubic", "direct")
    return resolve(BenchConfig(methods=methods, photos=str(photos), out=str(tmp_path), crops_per_photo=5))


def test_the_estimate_counts_images_warm_ups_and_crops(benchmark):
    slow, fast = (estimate(benchmark, ["lua"], 2, 0.0, {"lua": seconds / 512**2}) for seconds in (10.0, 0.0))
    assert slow - fast == pytest.approx(10 * (2 + 1 + 5))


def test_methods_that_enlarge_are_timed_and_one_that_fails_is_left_out(benchmark, world):  # noqa: F811
    benchmark.config.settings["lsr"] = ["weights=nowhere"]
    found = seconds_per_pixel(benchmark, world, benchmark.config.methods)
    assert set(found) == {"lua", "latent-bicubic"}
    assert 0 < found["latent-bicubic"] < found["lua"]


def test_methods_without_a_diffusion_pass_take_none():
    assert native_passes("lua", 4, 10) == 0
    assert native_passes("direct", 2, 10) > 10

import dataclasses
from pathlib import Path

import pytest
import torch

from baselines.contract import Start, Unavailable, World
from baselines.registry import METHODS, build_method, method_class
from lua_lightning.errors import UserError
from lua_lightning.images import resize
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.network import enlarge
from lua_lightning.models.swin import SwinIR
from tests.baselines.conftest import BASE
from tests.lua_lightning.generators.pipelines import pipeline, sdxl_topology


@pytest.fixture(scope="module")
def rivals(tmp_path_factory):
    """Small trained rivals' stand-ins: an LSR of 4 channels and a SwinIR on pixels."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("rivals")
    lsr = AdapterConfig.sized("tiny", channels=4, head="liif", head_dim=8)
    LatentUpscaler(lsr).save_pretrained(folder / "lsr")
    swinir = AdapterConfig.sized("tiny", channels=3, codec="rgb", downscale=1)
    LatentUpscaler(swinir).save_pretrained(folder / "swinir")
    return folder


@pytest.fixture
def build(world, rivals, codec_folder):
    def build(name, *more):
        if name == "lua-light" and not more:
            more = (f"decoder={codec_folder}",)
        folders = {"lsr": "lsr", "lsrna-demofusion": "lsr", "swinir": "swinir"}
        weights = [f"weights={rivals / folders[name]}"] if name in folders else []
        return build_method(name, world, [*weights, *more])

    return build


STEPS = {"direct": ["steps=2"], "demofusion": ["steps=2"], "lsrna-demofusion": ["steps=3", "inversion_depth=2"]}
RUNNING = [name for name in METHODS if name != "hidiffusion"]


@pytest.mark.parametrize("name", RUNNING)
def test_every_method_makes_an_image_with_its_phases(name, world, build):
    method = build(name, *STEPS.get(name, []))
    start = world.start("a lake", 5, BASE)
    outcome = method.run(start, 128)
    side = BASE if name == "native" else 128
    assert outcome.image.shape == (1, 3, side, side)
    assert outcome.image.isfinite().all()
    assert outcome.image.abs().max() <= 1
    assert outcome.shared == (("generate",) if method.enlarges else ())
    phases = {"generate", "decode"} | (set() if name in ("native", "direct") else {"upscale"})
    assert set(outcome.seconds) == set(outcome.peak_mib) == phases
    assert all(value > 0 for value in (*outcome.seconds.values(), *outcome.peak_mib.values()))
    if method.enlarges:
        assert outcome.seconds["generate"] == start.seconds
    again = method.run(start, 128).image
    assert again.equal(outcome.image)  # the seed decides


@pytest.mark.parametrize("name", RUNNING)
def test_methods_that_enlarge_take_a_photographs_latents(name, world, build):
    method = build(name)
    start = Start(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)))
    if method.needs_prompt:
        with pytest.raises(UserError, match=f"{name} asks the generator, which needs a prompt"):
            method.run(start, 128)
    else:
        outcome = method.run(start, 128)
        assert "generate" not in outcome.seconds
        assert not outcome.shared


def test_the_bicubic_rows_are_bicubic(world, build):
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    start = Start(latents)
    in_latents = world.codec.decode(enlarge(latents, 2)).clamp(-1, 1)
    in_pixels = resize(world.codec.decode(latents).clamp(-1, 1), (128, 128)).clamp(-1, 1)
    assert build("latent-bicubic").run(start, 128).image.equal(in_latents)
    assert build("pixel-bicubic").run(start, 128).image.equal(in_pixels)
    untrained = build("lua").run(start, 128).image  # its last layer is zero
    assert torch.allclose(untrained, in_latents, atol=1e-5)


def test_lsrna_grows_with_its_noise_and_its_depth(world, build):
    start = world.start("a lake", 5, BASE)
    base = build("lsr").run(start, 128).image

    def distance(*settings):
        image = build("lsrna-demofusion", "steps=10", "noise_high=0", *settings).run(start, 128).image
        return float((image - base).abs().mean())

    assert distance("inversion_depth=1") < distance("inversion_depth=6")


def test_direct_is_the_generator_at_the_full_size(world, build):
    start = Start(None, "a lake", 4)
    latents = world.generator.latents(["a lake"], [4], 128, 128, 2, eta=1.0)
    expected = world.codec.decode(latents).clamp(-1, 1)
    assert build("direct", "steps=2").run(start, 128).image.equal(expected)
    assert not build("direct", "steps=2", "eta=0").run(start, 128).image.equal(expected)


def test_refining_stays_near_the_adapters_image(world, build):
    start = world.start("a lake", 5, BASE)
    plain = build("lua").run(start, 128).image

    def distance(strength):
        image = build("lua-refine", f"strength={strength}", "steps=10").run(start, 128).image
        return float((image - plain).abs().mean())

    assert 0 < distance(0.1) < distance(1.0)


@pytest.mark.parametrize("name", ["StableDiffusion3Pipeline", "FluxPipeline", "Flux2Pipeline"])
def test_other_generators_refine_by_their_own_image_to_image_pipeline(name, tmp_path):
    pipeline(name).save_pretrained(tmp_path)
    world = World(str(tmp_path), device="cpu", steps=4)
    world.__dict__["adapter"] = LatentUpscaler(AdapterConfig.sized("tiny", channels=4)).eval()
    start = world.start("a lake", 5, BASE)
    if name == "Flux2Pipeline":
        with pytest.raises(Unavailable, match="no image-to-image pipeline"):
            build_method("lua-refine", world, ["strength=0.5"]).run(start, 128)
        return
    plain = build_method("lua", world).run(start, 128).image
    refined = build_method("lua-refine", world, ["strength=0.5"]).run(start, 128)
    assert refined.image.shape == plain.shape
    assert not torch.allclose(refined.image, plain, atol=1e-2)


def test_an_official_swinir_file_takes_the_place_of_ours(world, tmp_path):
    torch.manual_seed(0)
    model = SwinIR(2, embed_dim=12, depths=(2,), num_heads=(2,), upsampler="pixelshuffledirect")
    torch.save({"params": model.state_dict()}, tmp_path / "x2.pth")
    method = build_method("swinir", world, [f"weights={tmp_path / 'x2.pth'}"])
    start = Start(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)))
    image = world.codec.decode(start.latents).clamp(-1, 1)
    with torch.inference_mode():
        expected = (model.eval()((image + 1) / 2) * 2 - 1).clamp(-1, 1)
    assert torch.allclose(method.run(start, 128).image, expected, atol=1e-5)
    with pytest.raises(Unavailable, match="enlarges 2 times, but 4 is asked for"):
        method.run(start, 256)


def test_hidiffusion_patches_sdxls_unet_and_takes_the_patch_back(world, build, monkeypatch):
    method = build("hidiffusion", "steps=2")
    with pytest.raises(Unavailable, match="tiny-sdxl has other layers"):
        method.run(Start(None, "a lake", 4), 128)
    torch.manual_seed(0)
    pipe, unet = world.generator.pipe, sdxl_topology().eval()
    monkeypatch.setattr(pipe, "unet", unet)
    kind = type(unet)
    plain = build("direct", "steps=2").run(Start(None, "a lake", 4), 256).image
    patched = method.run(Start(None, "a lake", 4), 256)
    assert patched.image.shape == plain.shape
    assert not patched.image.equal(plain)
    assert type(pipe.unet) is kind
    assert build("direct", "steps=2").run(Start(None, "a lake", 4), 256).image.equal(plain)


def test_other_generators_have_no_demofusion(world, build, monkeypatch):
    monkeypatch.setattr(world.generator, "pipe", object())
    with pytest.raises(Unavailable, match="choose generator=sdxl or tiny-sdxl"):
        build("demofusion").run(Start(torch.zeros(1, 4, 8, 8), "a lake"), 128)


@pytest.mark.parametrize(
    ("name", "settings", "match"),
    [
        ("lau", [], "unknown method 'lau': did you mean 'lua'"),
        ("demofusion", ["sigmaa=1"], "did you mean 'sigma'"),
        ("demofusion", ["steps=many"], "steps"),
        ("native", ["steps=2"], "it has no settings"),
    ],
)
def test_what_is_not_known_is_refused(name, settings, match, world):
    with pytest.raises(UserError, match=match):
        build_method(name, world, settings)


def test_a_size_that_is_no_multiple_is_refused(world, build):
    with pytest.raises(UserError, match="by whole factors"):
        build("lua").run(Start(torch.zeros(1, 4, 8, 8)), 100)


def test_published_settings_are_the_defaults():
    lsrna = method_class("lsrna-demofusion").settings_type()
    demofusion = method_class("demofusion").settings_type()
    assert (demofusion.steps, demofusion.view_batch, demofusion.sigma) == (40, 4, 0.8)
    assert (demofusion.cosine_skip, demofusion.cosine_global, demofusion.cosine_blur) == (3, 1, 1)
    assert (lsrna.steps, lsrna.view_batch, lsrna.stride_ratio) == (50, 8, 0.5)
    assert (lsrna.noise_low, lsrna.noise_high, lsrna.inversion_depth) == (0, 1.2, 30)
    assert dataclasses.asdict(method_class("direct").settings_type()) == {"steps": None, "eta": 1.0}


def test_every_method_has_a_line_in_the_licences():
    text = Path("baselines/LICENSES.md").read_text()
    assert all(f"`{name}`" in text for name in METHODS)


def test_the_roundtrips_latents_are_those_of_the_enlarged_image(world, build):
    start = Start(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)))
    enlarged = build("pixel-bicubic").run(start, 128).image
    expected = world.decode(world.codec.encode(enlarged))
    torch.testing.assert_close(build("roundtrip").run(start, 128).image, expected)


def test_a_light_decoder_takes_the_adapters_latents(world, build, codec_folder):
    start = Start(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)))
    light = build("lua-light")
    torch.testing.assert_close(light.run(start, 128).image, build("lua").run(start, 128).image)
    assert str(codec_folder) in light.sources
    latents = light.upscale(start, 128, world.clock())
    other = dataclasses.replace(light.settings, decoder="tiny-d4")
    switched = type(light)(world, other)
    expected = LatentCodec.from_pretrained("tiny-d4").decode(latents).clamp(-1, 1)
    torch.testing.assert_close(switched.run(start, 128).image, expected)


def test_a_light_decoder_that_is_not_there_or_does_not_fit_is_unavailable(world):
    start = Start(torch.zeros(1, 4, 8, 8))
    with pytest.raises(Unavailable, match=r"no light decoder .* name one with settings.lua-light=\[decoder=FOLDER\]"):
        build_method("lua-light", world).run(start, 128)
    with pytest.raises(Unavailable, match="16 channels at 1/8, and"):
        build_method("lua-light", world, ["decoder=tiny-d16"]).run(start, 128)
    with pytest.raises(Unavailable, match="nowhere"):
        build_method("lua-light", world, ["decoder=nowhere"]).run(start, 128)


def test_published_generators_have_their_tiny_autoencoder():
    for name, decoder in {"sdxl": "taesdxl", "sd3": "taesd3", "flux": "taef1", "flux2": "taef2"}.items():
        light = build_method("lua-light", World(name, device="cpu"))
        assert light.decoder == decoder
        assert f"madebyollin/{decoder}" in light.sources

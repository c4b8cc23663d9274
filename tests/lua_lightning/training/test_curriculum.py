import dataclasses
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from lua_lightning.config import RunConfig, TrainConfig, load_config
from lua_lightning.errors import UserError
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pipeline import upscale_latents
from lua_lightning.training.checks import check_run
from lua_lightning.training.curriculum import Window, decode_pairs, decoded_window, supervised_scales
from lua_lightning.training.losses import TERMS, compute_terms
from lua_lightning.training.module import AdapterModule, step_terms
from tests.lua_lightning.models.autoencoders import KINDS, build, kl

PIXEL_TERMS = [name for name, term in TERMS.items() if term.space == "pixel"]


@pytest.fixture
def config():
    return load_config(
        RunConfig, Path("experiments/stage3.yaml"), ["train.crop_latents=16", "train.decode_latents=8", "seed=3"]
    )


@pytest.fixture
def adapter(codec):
    """An adapter whose last layers are not zero, so that gradients reach the trunk."""
    torch.manual_seed(0)
    model = LatentUpscaler(AdapterConfig.sized("tiny", channels=codec.channels, depths=(1,), skip="linear"))
    for head in model.heads.children():
        torch.nn.init.normal_(head.conv_last.weight, std=0.02)
    return model


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    hr = torch.randn((2, 4, 16, 16), generator=generator)
    return {"hr": hr, "lr_x2": torch.nn.functional.avg_pool2d(hr, 2), "lr_x4": torch.nn.functional.avg_pool2d(hr, 4)}


def pixel_loss(term, adapter, codec, batch, config, scale=2):
    window = decoded_window(config.train, config.seed, 0)
    prediction = adapter(batch[f"lr_x{scale}"], scale)
    (pair,) = decode_pairs(codec, [prediction], batch, window, config)
    return compute_terms({"pixel": pair}, {term: 1.0}, config.loss_options, scale)[term]


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("term", PIXEL_TERMS)
def test_every_pixel_term_trains_the_adapter_and_not_the_autoencoder(term, scale, adapter, codec, batch, config):
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    pixel_loss(term, adapter, codec, batch, config, scale).backward()
    idle = ("heads.x4", "skips.x4") if scale == 2 else ("heads.x2", "skips.x2")
    for name, weight in adapter.named_parameters():
        if name.startswith(idle):
            assert weight.grad is None
        else:
            assert weight.grad is not None, name
            assert weight.grad.abs().max() > 0, name
    assert all(weight.grad is None and not weight.requires_grad for weight in codec.parameters())
    assert all(torch.equal(before[name], value) for name, value in codec.state_dict().items())


def test_activation_checkpointing_changes_no_gradient(adapter, codec, batch, config):
    gradients = []
    for checkpointing in (False, True):
        config.train.checkpoint_decoder = checkpointing
        adapter.zero_grad()
        pixel_loss("pixel_l1", adapter, codec, batch, config).backward()
        gradients.append([weight.grad.clone() for weight in adapter.parameters() if weight.grad is not None])
    for kept, again in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, again)


@pytest.mark.parametrize("chunk", [1, 3])
def test_checkpointing_decodes_a_chunk_at_a_time_again(codec, config, monkeypatch, chunk):
    """One checkpoint around the whole batch would hold all of it in the backward pass: as much as without."""
    config.train.checkpoint_decoder, config.train.decode_chunk = True, chunk
    latents = torch.randn(6, 4, 8, 8)
    prediction = latents.clone().requires_grad_()
    ((ours, _),) = decode_pairs(codec, [prediction], {"hr": latents}, Window(0, 0, 8, 0), config)
    again = []
    decode = codec._decode
    monkeypatch.setattr(codec, "_decode", lambda raw: again.append(len(raw)) or decode(raw))
    ours.square().mean().backward()
    assert again == [chunk] * (6 // chunk)


def test_only_the_window_is_decoded(codec, batch, config, monkeypatch):
    sizes = []
    decode = codec.decode

    def recorded(self, latents, check_finite=True):
        sizes.append(latents.shape[-2:])
        return decode(latents)

    monkeypatch.setattr(type(codec), "decode", recorded)
    window = decoded_window(config.train, config.seed, 0)
    pairs = decode_pairs(codec, [batch["hr"], batch["hr"]], batch, window, config)
    side = config.train.decode_latents
    assert sizes == [(side + 2 * config.train.decode_margin,) * 2] * 2  # both heads at once, and the target once
    for ours, theirs in pairs:
        assert ours.shape[-2:] == (8 * side, 8 * side)
        torch.testing.assert_close(ours, theirs)


def test_the_margin_keeps_the_decoders_border_out(codec, batch):
    """The test codec's decoder sees 4 latents to each side: a margin of 4 makes the window exact, one of 0 does not."""
    whole = codec.decode(batch["hr"])

    def error(margin):
        window = Window(top=6 - margin, left=5 - margin, side=4 + 2 * margin, margin=margin)
        ours = window.trim(codec.decode(window.cut(batch["hr"])), codec.downscale)
        return float((ours - whole[..., 48:80, 40:72]).abs().max())

    assert error(4) < 1e-5 < error(1) < error(0)


def test_the_photograph_is_cut_where_the_latents_are(codec, batch, config):
    config.loss_options.pixel_target = "photo"
    photo = torch.rand((2, 3, 128, 128))
    window = Window(top=4, left=2, side=10, margin=1)
    (pair,) = decode_pairs(codec, [batch["hr"]], {**batch, "image": photo}, window, config)
    assert torch.equal(pair[1], photo[..., 40:104, 24:88])


def test_pixels_that_are_kept_are_not_decoded_again(codec, batch, config, monkeypatch):
    """The target of `pixel_target=photo` is in the cache; that of `decoded` is one decoding for all heads."""
    decoded = []
    decode = codec._decode
    monkeypatch.setattr(codec, "_decode", lambda raw: decoded.append(len(raw)) or decode(raw))
    for target, passes in (("photo", [4]), ("decoded", [4, 2])):
        decoded.clear()
        config.loss_options.pixel_target = target
        window = Window(top=4, left=2, side=10, margin=1)
        decode_pairs(codec, [batch["hr"], batch["hr"]], {**batch, "image": torch.rand(2, 3, 128, 128)}, window, config)
        assert decoded == passes


@pytest.mark.parametrize("codec_kind", KINDS)
@pytest.mark.parametrize("space", ["raw", "normalised"])
def test_a_raw_adapter_trains_between_the_codecs_factors(space, codec_kind, config):
    """The authors' weights work on raw latents; the loss, as ever, is taken on normalised ones."""
    torch.manual_seed(0)
    codec = LatentCodec.of(build(codec_kind), codec_kind)
    settings = {"channels": codec.channels, "depths": (1,), "skip": "none", "space": space}
    adapter = LatentUpscaler(AdapterConfig.sized("tiny", **settings))
    latents = torch.randn(2, codec.channels, 4, 4)
    batch = {"hr": torch.randn(2, codec.channels, 16, 16), "lr_x2": torch.randn(2, codec.channels, 8, 8)}
    config.loss, config.train.joint_fraction = {"latent_l1": 1.0}, 1.0
    predictions, _, weighted = step_terms(adapter, codec, config, {**batch, "lr_x4": latents}, 0)
    with torch.no_grad():
        for scale, prediction in predictions.items():
            torch.testing.assert_close(
                prediction, upscale_latents(adapter, codec, {**batch, "lr_x4": latents}[f"lr_x{scale}"], scale)
            )
    weighted["latent_l1"].backward()
    assert adapter.conv_first.weight.grad.abs().max() > 0


@pytest.mark.parametrize("drawn", [0, 1])
@pytest.mark.parametrize("scales", [(2,), (2, 4)])
def test_every_weight_has_a_gradient_or_is_known_to_rest(scales, drawn, codec, batch, config):
    """DDP waits for a gradient of every weight that is not named idle, also of a head that the run does not train."""
    adapter = LatentUpscaler(AdapterConfig.sized("tiny", channels=codec.channels, depths=(1,), skip="linear"))
    config.adapter.scales, config.train.joint_fraction = scales, float(drawn == 0)
    predictions, _, weighted = step_terms(adapter, codec, config, batch, 0)
    torch.stack(list(weighted.values())).sum().backward()
    idle = AdapterModule(config, adapter, codec)._idle_weights(list(predictions))
    assert {id(weight) for weight in idle} == {id(weight) for weight in adapter.parameters() if weight.grad is None}


def test_windows_stay_inside_and_reach_every_border(config):
    settings = dataclasses.replace(config.train, crop_latents=32, decode_latents=16, decode_margin=2)
    windows = [decoded_window(settings, 0, step) for step in range(500)]
    assert {window.side for window in windows} == {20}
    for axis in ("top", "left"):
        assert {getattr(window, axis) for window in windows} == set(range(0, 13, 2))
    assert windows == [decoded_window(settings, 0, step) for step in range(500)]
    assert Counter(window.top == window.left for window in windows)[True] < 200  # both axes are drawn
    assert decoded_window(TrainConfig(decode_latents=0), 0, 7) == Window(0, 0, 32, 0)


def test_heads_learn_together_first_and_by_lot_afterwards(config):
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=5000, joint_fraction=0.6))
    drawn = [supervised_scales(config, step) for step in range(5000)]
    assert set(drawn[:3000]) == {(2, 4)}
    odds = Counter(drawn[3000:])
    assert set(odds) == {(2,), (4,)}
    assert abs(odds[(2,)] - 1000) < 100  # 4.5 standard deviations
    assert drawn == [supervised_scales(config, step) for step in range(5000)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.decode_latents=31"], r"decode_latents=31 with train.decode_margin=1 .* does not fit"),
        (["loss_options.pixel_target=photo"], "set cache.train_pixels=true"),
        (["loss_options.pixel_target=phot"], "did you mean 'photo'"),
        (["loss_options.high_frequency_kernel=4"], "must be odd"),
        (["train.joint_fraction=1.5"], "between 0 and 1"),
        (["adapter.init_from=null", "adapter.transfer=true"], "needs adapter.init_from"),
    ],
)
def test_contradictions_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        check_run(load_config(RunConfig, Path("experiments/stage3.yaml"), settings))


@pytest.mark.slow
@pytest.mark.parametrize("codec_name", ["tiny-d16", "tiny-d4"])
def test_a_step_through_the_decoder_costs_at_most_three_of_stage_one(codec_name, record_property):
    """In float32 with both heads, the dearest step; the stages take turns, so that all meet the same machine."""
    codec = LatentCodec.from_pretrained(codec_name)
    model = LatentUpscaler(AdapterConfig.sized("tiny", channels=codec.channels, skip="linear"))
    runs = [load_config(RunConfig, Path(f"experiments/{stage}.yaml")) for stage in ("stage1", "stage2", "stage3")]
    count, side = runs[0].train.batch_size, runs[0].train.crop_latents
    patches = {
        name: torch.randn(count, codec.channels, side // factor, side // factor)
        for name, factor in {"hr": 1, "lr_x2": 2, "lr_x4": 4}.items()
    }
    seconds = {run.stage: [] for run in runs}
    for _ in range(6):
        for run in runs:
            started = time.perf_counter()
            _, _, weighted = step_terms(model, codec, run, patches, 0)
            torch.stack(list(weighted.values())).sum().backward()
            seconds[run.stage].append(time.perf_counter() - started)
    fastest = {stage: min(times) for stage, times in seconds.items()}
    for stage in ("stage2", "stage3"):
        record_property(f"{codec_name} {stage}", round(fastest[stage] / fastest["stage1"], 2))
        assert fastest[stage] <= 3 * fastest["stage1"]


def test_the_default_precision_of_the_decoder_keeps_its_gradients(config):
    """In a bf16 training the default decoder's gradients are float32's; bf16-mixed turns them visibly."""
    torch.manual_seed(0)
    codec = LatentCodec.of(kl(scaling_factor=0.13025), "small")
    hr = torch.randn(1, 4, 8, 8)

    def gradient(autocast, precision):
        codec.mixed_precision = precision == "bf16-mixed"
        prediction = (hr + 0.05).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            ((ours, theirs),) = decode_pairs(codec, [prediction], {"hr": hr}, Window(0, 0, 8, 0), config)
            compute_terms({"pixel": (ours, theirs)}, {"pixel_l1": 1.0}, config.loss_options, 2)["pixel_l1"].backward()
        return prediction.grad.flatten()

    exact = gradient(autocast=False, precision="32-true")
    for precision, enough in ((TrainConfig().decoder_precision, True), ("bf16-mixed", False)):
        cosine = float(torch.cosine_similarity(gradient(autocast=True, precision=precision), exact, dim=0))
        assert (cosine > 0.99) == enough, cosine

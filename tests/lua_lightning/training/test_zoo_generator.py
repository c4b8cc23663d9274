import json

import pytest
import torch

from lua_lightning.errors import UserError
from lua_lightning.generators.generator import Generator
from lua_lightning.generators.tiny_sdxl import TinySDXLConfig, clip_tokenizer
from lua_lightning.training.zoo_generator import (
    UNKNOWN,
    GeneratorTrainingConfig,
    Training,
    View,
    draw_view,
    train_generator,
    velocity_loss,
)

SMALL = TinySDXLConfig(
    latent_channels=4, sample_size=32, block_out_channels=(32, 32), text_width=16, text_layers=1, merges=50
)


@pytest.fixture
def config(tmp_path, photo_folder, codec_folder):
    (tmp_path / "captions.json").write_text(json.dumps({"0.png": "a hill"}))
    return GeneratorTrainingConfig(
        out=str(tmp_path / "out"),
        state=str(tmp_path / "state.pt"),
        photos=str(photo_folder),
        captions=str(tmp_path / "captions.json"),
        codec=str(codec_folder),
        steps=4,
        batch_size=2,
        variants=2,
        warmup_steps=1,
        checkpoint_every=2,
    )


def test_a_killed_training_ends_as_an_uninterrupted_one(config, tmp_path, monkeypatch):
    whole = train_generator(config, SMALL)
    weights = (tmp_path / "out/unet/diffusion_pytorch_model.safetensors").read_bytes()
    (tmp_path / "state.pt").unlink()
    update = Training.update

    def killed(self, *arguments):
        if self.step == 3:
            raise KeyboardInterrupt
        return update(self, *arguments)

    monkeypatch.setattr(Training, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train_generator(config, SMALL)
    monkeypatch.setattr(Training, "update", update)
    train_generator(config, SMALL)
    assert (tmp_path / "out/unet/diffusion_pytorch_model.safetensors").read_bytes() == weights
    assert whole["parameters"] > 0
    assert "zero terminal SNR" in (tmp_path / "out/README.md").read_text()
    config.learning_rate = 1.0
    with pytest.raises(UserError, match="begun with another learning_rate"):
        train_generator(config, SMALL)


def test_what_was_trained_generates(config, codec_folder, tmp_path):
    train_generator(config, SMALL)
    generator = Generator.from_pretrained(str(tmp_path / "out"), codec=str(codec_folder))
    generator.pipe.unet.float()
    latents = generator.latents(["a hill"], [0], 64, 64, steps=2)
    assert latents.shape == (1, 4, 8, 8)
    assert latents.isfinite().all()
    scheduler = generator.pipe.scheduler.config
    assert (scheduler.prediction_type, scheduler.rescale_betas_zero_snr, scheduler.clip_sample) == (
        "v_prediction",
        True,
        False,
    )


def test_the_loss_is_the_velocitys_square_error(config):
    """A network that answers zero leaves the mean square of the velocity, which is 1 for unit latents and noise."""
    training = Training(config, 4, SMALL)
    unet = training.pipe.unet
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
    draw = torch.Generator().manual_seed(0)
    views = [View(torch.randn(4, 32, 32, generator=draw), 0, (256, 256, 0, 0, 256, 256)) for _ in range(8)]
    loss = velocity_loss(training.pipe, views, ["a hill"], draw, 0.0)
    assert float(loss.detach()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("dropout", "same"), [(1.0, True), (0.0, False)])
def test_a_dropped_caption_is_not_seen(config, dropout, same):
    training = Training(config, 4, SMALL)
    views = [View(torch.randn(4, 32, 32, generator=torch.Generator().manual_seed(1)), 0, (256, 256, 0, 0, 256, 256))]
    losses = [
        velocity_loss(training.pipe, views, [caption], torch.Generator().manual_seed(0), dropout).item()
        for caption in ("a hill", "boats on a lake")
    ]
    assert (losses[0] == losses[1]) is same


def test_a_part_of_a_scene_says_so():
    image = torch.linspace(-1, 1, 100).view(1, 1, 1, 100).expand(1, 3, 80, 100)
    draw = torch.Generator().manual_seed(0)
    crop, time_ids = draw_view(image, 16, 1, draw)
    assert crop.shape == (1, 3, 16, 16)
    assert time_ids == (16, 16, 0, 0, 16, 16)
    corners = set()
    for _ in range(20):
        crop, time_ids = draw_view(image, 16, 4, draw)
        assert crop.shape == (1, 3, 16, 16)
        assert time_ids[:2] == time_ids[4:] == (64, 64)
        assert all(corner % 8 == 0 and 0 <= corner <= 48 for corner in time_ids[2:4])
        corners.add(time_ids[2:4])
    assert len(corners) > 10


def test_the_tokenizer_is_clips_with_fewer_merges():
    tokenizer = clip_tokenizer(4000)
    assert tokenizer.tokenize("a mountain lake at sunset") == [
        "a</w>",
        "mountain</w>",
        "lake</w>",
        "at</w>",
        "sunset</w>",
    ]
    assert "".join(tokenizer.tokenize("kaleidoscope")).replace("</w>", "") == "kaleidoscope"
    assert len(clip_tokenizer(0)) == 514


def test_captions_must_be_readable(config, tmp_path):
    (tmp_path / "captions.json").write_text("[")
    with pytest.raises(UserError, match=r"captions\.json cannot be read"):
        train_generator(config, SMALL)
    assert UNKNOWN == "a photograph"

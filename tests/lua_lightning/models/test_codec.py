import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLFlux2, AutoencoderTiny

from lua_lightning.errors import UserError
from lua_lightning.models import pretrained
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.patch_autoencoder import PatchAutoencoder
from tests.lua_lightning.models.autoencoders import KINDS, build, kl


@pytest.fixture(params=KINDS)
def real(request, tmp_path):
    model = build(request.param).eval()
    model.save_pretrained(tmp_path / "vae")
    return model, LatentCodec.from_pretrained(tmp_path / "vae")


@pytest.fixture
def images():
    return torch.rand((2, 3, 32, 48), generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_normalised_latents_are_the_generators(real, images):
    model, codec = real
    latents = codec.encode(images)
    assert latents.shape == (2, codec.channels, 4, 6)
    with torch.no_grad():
        encoded = model.encode(images)
        if isinstance(model, AutoencoderTiny):
            expected = encoded.latents
        elif isinstance(model, AutoencoderKLFlux2):  # the FLUX.2 pipeline normalises 2x2 cells by running statistics
            cells = F.pixel_unshuffle(encoded.latent_dist.mode(), 2)
            expected = F.pixel_shuffle(F.batch_norm(cells, model.bn.running_mean, model.bn.running_var, eps=1e-4), 2)
        else:
            shift = model.config.shift_factor or 0.0
            expected = (encoded.latent_dist.mode() - shift) * model.config.scaling_factor
        torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)
        raw = encoded.latents if isinstance(model, AutoencoderTiny) else encoded.latent_dist.mode()
        torch.testing.assert_close(codec.decode(latents), model.decode(raw).sample, atol=1e-4, rtol=1e-4)


def test_odd_latents_normalise_and_come_back(real):
    _, codec = real
    raw = torch.randn(1, codec.channels, 5, 7)
    torch.testing.assert_close(codec.denormalise(codec.normalise(raw)), raw)


def test_decode_lets_gradients_through_to_latents_only(real):
    _, codec = real
    codec.train()  # as a parent module would
    latents = torch.randn(1, codec.channels, 4, 4, requires_grad=True)
    codec.decode(latents).square().mean().backward()
    assert latents.grad is not None
    assert latents.grad.abs().sum() > 0
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in codec.parameters())
    assert not codec.model.training


def test_the_patch_codec_round_trips_its_own_folder(codec, codec_folder, images):
    model = PatchAutoencoder.from_pretrained(codec_folder)
    raw = model.encode(images)
    torch.testing.assert_close(codec.encode(images), (raw - 0.2) * 0.7)
    torch.testing.assert_close(codec.decode(codec.encode(images)), model.decode(raw), atol=1e-5, rtol=1e-5)


def test_tiles_equal_the_whole_away_from_borders(codec):
    images = torch.rand((1, 3, 320, 512), generator=torch.Generator().manual_seed(2)) * 2 - 1
    whole = codec.encode(images)
    torch.testing.assert_close(codec.encode(images, tile=256), whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(codec.decode(whole, tile=32), codec.decode(whole), atol=1e-5, rtol=1e-5)


def test_the_hash_follows_weights_and_normalisation(codec, codec_folder):
    again = LatentCodec.from_pretrained(codec_folder)
    assert again.sha256() == codec.sha256()
    again.scale.mul_(1.01)
    assert again.sha256() != codec.sha256()
    other = LatentCodec.from_pretrained(codec_folder)
    other.model.analysis.weight[0, 0] += 1
    assert other.sha256() != codec.sha256()


def test_misfits_are_one_sentence(codec, tmp_path):
    with pytest.raises(UserError, match="4 latent channels, not 16"):
        codec.decode(torch.zeros(1, 16, 4, 4))
    with pytest.raises(UserError, match="multiples of 8"):
        codec.encode(torch.zeros(1, 3, 30, 32))
    with pytest.raises(UserError, match="neither a local folder"):
        LatentCodec.from_pretrained("tiny-d61")
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    with pytest.raises(UserError, match="UNet2DConditionModel"):
        LatentCodec.from_pretrained(tmp_path)


def test_latents_with_a_mean_and_deviation_per_channel_are_the_pipelines(images):
    """Playground 2.5's pipeline decodes `latents * std / scaling_factor + mean`."""
    mean, deviation = [0.1, -0.2, 0.3, 0.0], [1.5, 0.5, 2.0, 1.0]
    model = kl(scaling_factor=0.5, latents_mean=mean, latents_std=deviation).eval()
    codec = LatentCodec.of(model, "playground")
    latents = torch.randn(1, 4, 4, 6)
    mean, deviation = (torch.tensor(values).view(1, -1, 1, 1) for values in (mean, deviation))
    with torch.no_grad():
        raw = model.encode(images).latent_dist.mode()
        torch.testing.assert_close(codec.encode(images), (raw - mean) * 0.5 / deviation)
        torch.testing.assert_close(codec.decode(latents), model.decode(latents * deviation / 0.5 + mean).sample)


def test_the_name_flux2_asks_for_a_repository_without_a_gate(monkeypatch):
    """FLUX.2-dev's repository is closed to those who have not agreed to its licence; klein 4B's is Apache-2.0."""
    asked = []

    def download(repo, *rest):
        asked.append((repo, *rest))
        raise UserError("no hub here")

    monkeypatch.delenv("LUA_LIGHTNING_FLUX2", raising=False)
    monkeypatch.setattr(pretrained, "_download", download)
    with pytest.raises(UserError, match="no hub here"):
        LatentCodec.from_pretrained("flux2")
    assert asked == [("black-forest-labs/FLUX.2-klein-4B", None, "vae")]

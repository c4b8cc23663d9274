import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from lua_lightning.errors import UserError
from lua_lightning.models.patch_autoencoder import PatchAutoencoder, PatchAutoencoderConfig

SMALL = PatchAutoencoderConfig(latent_channels=6, width=8, encoder_blocks=1, decoder_blocks=1)


@pytest.fixture
def patches():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn((192, 192), generator=generator) * torch.linspace(1, 0.05, 192)
    return torch.randn((3000, 192), generator=generator) @ mixing.T / 14 + 0.1


def as_image(patches):
    """60 x 50 patches as one image."""
    return F.pixel_shuffle(patches.view(1, 60, 50, 192).permute(0, 3, 1, 2), 8)


def test_before_training_it_is_a_principal_component_code(patches):
    model = PatchAutoencoder(SMALL)
    model.set_linear_code(patches)
    pca = PCA(6).fit(patches.double().numpy())
    expected = pca.inverse_transform(pca.transform(patches.double().numpy()))
    with torch.no_grad():
        image = model.decode(model.encode(as_image(patches)))
    torch.testing.assert_close(image, as_image(torch.from_numpy(expected).float()), atol=1e-4, rtol=1e-4)


def test_each_latent_channel_has_the_variance_of_its_components_deviation(patches):
    model = PatchAutoencoder(SMALL)
    model.set_linear_code(patches)
    with torch.no_grad():
        latents = model.encode(as_image(patches))
    deviations = torch.from_numpy(PCA(6).fit(patches.double().numpy()).explained_variance_ ** 0.5).float()
    torch.testing.assert_close(latents.var(dim=(0, 2, 3)), deviations, atol=1e-3, rtol=1e-2)


def test_without_encoder_blocks_latents_are_linear_in_the_image(tmp_path, patches):
    model = PatchAutoencoder(replace(SMALL, encoder_blocks=0))
    model.set_linear_code(patches)
    torch.nn.init.normal_(model.decoder[-1].weight, std=0.1)
    one, other = torch.randn(2, 1, 3, 16, 24)
    with torch.no_grad():
        middle = (model.encode(one) + model.encode(other)) / 2
        torch.testing.assert_close(model.encode((one + other) / 2), middle, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("encoder_blocks", [0, 1])
def test_a_saved_model_computes_the_same(tmp_path, patches, encoder_blocks):
    config = replace(SMALL, encoder_blocks=encoder_blocks)
    model = PatchAutoencoder(config)
    model.set_linear_code(patches)
    torch.nn.init.normal_(model.decoder[-1].weight, std=0.1)
    model.save_pretrained(tmp_path, torch.float32)
    again = PatchAutoencoder.from_pretrained(tmp_path)
    images = torch.randn(1, 3, 16, 24)
    assert again.config == config
    assert torch.equal(model.decode(model.encode(images)), again.decode(again.encode(images)))


def test_a_config_that_is_mistyped_or_does_not_fit_is_refused(tmp_path):
    PatchAutoencoder(SMALL).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "widht": 8}))
    with pytest.raises(UserError, match="did you mean 'width'"):
        PatchAutoencoder.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "width": 16}))
    with pytest.raises(UserError, match="do not fit"):
        PatchAutoencoder.from_pretrained(tmp_path)

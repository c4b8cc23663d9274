"""DINOv2 and CLIP features: small networks of the real classes, loaded from folders, against those classes."""

import numpy as np
import pytest
import torch
from cleanfid.resize import make_resizer
from PIL import Image

from lua_lightning.errors import UserError
from lua_lightning.evaluation import transformers_features as module
from lua_lightning.evaluation.features import ImageSet
from lua_lightning.evaluation.transformers_features import clip_image, dinov2

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}


@pytest.fixture(autouse=True)
def small_ones(monkeypatch):
    monkeypatch.setattr(module, "DINOV2", {"hidden_size": 32, "patch_size": 14})
    monkeypatch.setattr(module, "CLIP", {"hidden_size": 32, "patch_size": 14, "image_size": 56})


def prepared(files, side, mean, deviation):
    resize = make_resizer("PIL", False, "bicubic", (side, side))
    images = np.stack([resize(np.asarray(Image.open(path))) for path in files]) / 255
    return torch.from_numpy((images - mean) / deviation).permute(0, 3, 1, 2).float()


def test_dinov2_gives_the_class_token(tmp_path, files):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    network = Dinov2Model(Dinov2Config(**SMALL, image_size=56)).eval()
    network.save_pretrained(tmp_path / "dino")
    images = prepared(files, 224, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = network(images).pooler_output
    features = dinov2(tmp_path / "dino")
    np.testing.assert_allclose(features(ImageSet(files).images()), expected, atol=1e-5)
    assert features.name == "dinov2-vitl14"


def test_clip_gives_embeddings_of_unit_length(tmp_path, files):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    network = CLIPVisionModelWithProjection(CLIPVisionConfig(**SMALL, image_size=56, projection_dim=16)).eval()
    network.save_pretrained(tmp_path / "clip")
    images = prepared(files, 56, [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    with torch.no_grad():
        embeds = network(images).image_embeds
    expected = embeds / embeds.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(clip_image(tmp_path / "clip")(ImageSet(files).images()), expected, atol=1e-5)


def test_another_network_is_refused(tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    Dinov2Model(Dinov2Config(**SMALL | {"hidden_size": 16}, image_size=56)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="its hidden_size is 16 in place of 32"):
        dinov2(tmp_path)


@pytest.mark.parametrize(("load", "command"), [(dinov2, "make dinov2"), (clip_image, "make clip-large")])
def test_missing_weights_are_named_with_the_command(load, command, tmp_path):
    for folder in (None, tmp_path):
        with pytest.raises(UserError, match=command):
            load(folder)

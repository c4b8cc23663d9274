import json

import pytest
import torch
from safetensors.torch import load_file

from lua_lightning.images import read_image, to_tensor, write_image
from lua_lightning.models.pretrained import WEIGHTS_NAME
from lua_lightning.pairs.crops import detail_map
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.training.zoo_codec import CodecTrainingConfig, held_out_crops, train_codec
from tests.conftest import write_photo_set


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photographs of which each held-out one is flat in its left half."""
    folder = write_photo_set(tmp_path_factory.mktemp("codec") / "photos", ["train", "train", "val", "test"], size=512)
    for photo in PhotoSet.load(folder).photos[2:]:
        image = to_tensor(read_image(folder / photo.file))
        image[..., :256] = 0.25
        write_image(folder / photo.file, image)
    return folder


def test_held_out_crops_are_the_more_detailed_half(photos):
    crops = held_out_crops(PhotoSet.load(photos), "test", crop=128)
    assert 1 <= len(crops) <= 5
    whole = to_tensor(read_image(photos / PhotoSet.load(photos).split("test")[0].file))
    assert float(detail_map(crops, 128)) > 10 * float(detail_map(whole[..., :128, :128], 128))


@pytest.mark.parametrize("encoder_blocks", [0, 1])
def test_a_codec_is_trained_and_says_what_it_measured(photos, tmp_path, encoder_blocks, capsys):
    config = CodecTrainingConfig(
        out=str(tmp_path / "codec"), photos=str(photos), latent_channels=4, width=8, encoder_blocks=encoder_blocks,
        decoder_blocks=1, steps=4, batch_size=2, crop_px=64, pca_patches=500,
    )  # fmt: skip
    results = train_codec(config)
    assert json.loads((tmp_path / "codec/results.json").read_text()) == results
    assert results["psnr"] == pytest.approx(results["psnr_linear"], abs=1)
    assert str(tmp_path) not in json.dumps(results)
    names = {name.split(".")[0] for name in load_file(tmp_path / "codec" / WEIGHTS_NAME)}
    assert names == {"analysis", "synthesis", "decoder"} | ({"encoder"} if encoder_blocks else set())
    card = (tmp_path / "codec/README.md").read_text()
    assert f"{results['psnr']:.2f} dB PSNR" in card
    assert "2 training, 1 validation and 1 test photographs" in card
    assert torch.isfinite(torch.tensor(results["psnr"]))

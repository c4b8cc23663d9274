import pytest
import torch

from lua_lightning.errors import UserError
from lua_lightning.export.layouts import unpacked
from lua_lightning.generators.codec_vae import CodecAutoencoder
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pipeline import UpscaledPipeline, upscale_latents
from tests.lua_lightning.generators.pipelines import CLASSES, pipeline


def adapter(space="normalised", channels=4):
    torch.manual_seed(0)
    model = LatentUpscaler(AdapterConfig.sized("tiny", channels=channels, space=space))
    for head in model.heads.children():
        torch.nn.init.normal_(head.conv_last.weight, std=0.1)
    return model.eval()


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("space", ["normalised", "raw"])
def test_it_returns_what_the_pipeline_returns_larger(name, space):
    pipe, model = pipeline(name), adapter(space)
    settings = {"prompt": "a lake", "height": 64, "width": 96, "num_inference_steps": 2}

    def seed():
        return torch.Generator().manual_seed(3)

    base = pipe(**settings, generator=seed(), output_type="latent").images
    if "Flux" in name:
        base = unpacked(base, 64, 96, 8)
    codec = LatentCodec.of(pipe.vae, name)
    with torch.no_grad():
        expected = codec.decode(upscale_latents(model, codec, base, 2))
    result = UpscaledPipeline(pipe, model, 2)(**settings, generator=seed(), output_type="pt")
    assert type(result) is type(pipe(**settings, generator=seed()))
    assert result.images.shape[-2:] == (128, 192)
    assert torch.allclose(result.images, (expected / 2 + 0.5).clamp(0, 1), atol=1e-4)
    picture = UpscaledPipeline(pipe, model, 2)(**settings, return_dict=False)[0][0]
    assert picture.size == (192, 128)


def test_enlarged_latents_can_be_had():
    pipe = pipeline("FluxPipeline")
    result = UpscaledPipeline(pipe, adapter(), 4)(
        "a lake", height=64, width=64, num_inference_steps=1, output_type="latent"
    )
    assert result.images.shape == (1, 4, 32, 32)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="16 channels"):
        UpscaledPipeline(pipeline("FluxPipeline"), adapter(channels=16))
    with pytest.raises(UserError, match="at most 4 times"):
        UpscaledPipeline(pipeline("FluxPipeline"), adapter(), 5)
    with pytest.raises(UserError, match="class object"):
        UpscaledPipeline(object(), adapter())


def test_a_codec_serves_as_a_pipelines_autoencoder(codec_folder, codec):
    vae = CodecAutoencoder(str(codec_folder))
    images = torch.rand(1, 3, 32, 48) * 2 - 1
    latents = vae.encode(images).latent_dist.sample()
    assert latents.equal(codec.encode(images))
    assert vae.encode(images).latent_dist.mode().equal(latents)
    assert vae.decode(latents).sample.equal(codec.decode(latents))
    assert vae.decode(latents, return_dict=False)[0].equal(codec.decode(latents))
    assert 2 ** (len(vae.config.block_out_channels) - 1) == codec.downscale
    assert vae.config.scaling_factor == 1

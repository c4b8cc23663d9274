"""Codec and adapter in half precision, with every autoencoder class: small ones of the real classes, random weights."""

import pytest
import torch
from torch import Tensor

from data.dead_leaves import dead_leaves
from lua_lightning.errors import UserError
from lua_lightning.images import to_tensor
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.patch_autoencoder import PatchAutoencoder, PatchAutoencoderConfig
from lua_lightning.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from lua_lightning.pipeline import load_pair, upscale_tensor
from tests.lua_lightning.models.autoencoders import KINDS, build, kl

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
EMBEDDED, TINY = "PatchAutoencoder", "TinyAutoencoder"


def model(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == EMBEDDED:
        autoencoder = PatchAutoencoder(PatchAutoencoderConfig(4, width=16, scaling_factor=0.7, shift_factor=0.2))
        autoencoder.set_linear_code(torch.randn(500, 192))
        return autoencoder
    if kind == TINY:
        return TinyAutoencoder(TinyAutoencoderConfig(latent_channels=4, width=8, pooled=True))
    return build(kind)


def images() -> Tensor:
    return torch.rand((2, 3, 32, 48), generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("kind", [*KINDS, EMBEDDED, TINY])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_codec_works_in_every_dtype_and_normalises_in_float32(kind, dtype):
    exact, half = LatentCodec.of(model(kind), kind), LatentCodec.of(model(kind).to(dtype), kind)
    latents = exact.encode(images())
    encoded = half.encode(images().to(dtype))
    assert encoded.dtype == torch.float32
    assert (encoded - latents).abs().mean() <= 0.05 * latents.abs().mean()
    with torch.no_grad():
        right, ours = exact.decode(latents), half.decode(latents.to(dtype))
    assert ours.dtype == torch.float32
    assert (ours - right).abs().mean() <= 0.05 * right.abs().mean()
    assert half.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_autocast_leaves_the_decoder_in_its_own_dtype(dtype):
    codec = LatentCodec.of(model(TINY).to(dtype), TINY)
    latents = torch.randn(1, 4, 4, 4)
    plain = codec.decode(latents)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(codec.decode(latents), plain)


def test_an_autoencoder_that_overflows_in_float16_decodes_in_float32():
    wide = kl(scaling_factor=0.13025, force_upcast=True)
    with torch.no_grad():  # its middle activations lie beyond 65504
        wide.decoder.conv_in.weight *= 1e5
        wide.decoder.conv_in.bias *= 1e5
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        right = LatentCodec.of(wide, "wide").decode(latents)
        half = wide.half()
        ours = LatentCodec.of(half, "wide").decode(latents)
    assert next(half.parameters()).dtype == torch.float16  # as it was
    assert (ours - right).abs().mean() <= 0.05 * right.abs().mean()


def test_values_that_are_not_finite_are_an_error_and_never_a_picture():
    codec = LatentCodec.of(model(TINY), TINY)
    latents = torch.zeros(1, 4, 4, 4)
    latents[0, 0, 0, 0] = torch.nan
    with torch.no_grad(), pytest.raises(UserError, match=r"1\.56 % of the latents are not finite"):
        codec.decode(latents)
    with torch.no_grad():
        codec.model.decoder[-1].bias.fill_(torch.inf)
        with pytest.raises(UserError, match=r"overflows in torch\.float32"):
            codec.decode(torch.zeros(1, 4, 4, 4))


@pytest.mark.parametrize("skip", ["linear", "bicubic", "none"])
@pytest.mark.parametrize("weights", DTYPES, ids=str)
@pytest.mark.parametrize("latents", DTYPES, ids=str)
def test_an_adapter_takes_latents_of_any_dtype(skip, weights, latents):
    torch.manual_seed(0)
    adapter = LatentUpscaler(AdapterConfig.sized("tiny", channels=4, skip=skip, depths=(2,))).eval()
    torch.nn.init.normal_(adapter.heads["x2"].conv_last.weight, std=0.05)
    inputs = torch.randn(1, 4, 16, 24)
    with torch.no_grad():
        right = adapter(inputs, 2)
        ours = adapter.to(weights)(inputs.to(latents), 2)
    assert ours.dtype == latents
    assert (ours.float() - right).abs().mean() <= 0.01 * right.abs().mean()


def test_the_skip_is_exact_in_bfloat16():
    """Rounding of the residual averages out; rounding of the skip would shift every colour."""
    adapter = LatentUpscaler(AdapterConfig.sized("tiny", channels=4, skip="bicubic", depths=(2,))).eval()
    inputs = torch.randn(1, 4, 16, 24)
    with torch.no_grad():
        right = adapter(inputs, 2)  # the residual starts at zero
        assert torch.equal(adapter.bfloat16()(inputs, 2), right)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(adapter(inputs, 2), right)


@pytest.mark.parametrize("head", ["pixelshuffle", "liif"])
def test_autocast_rounds_no_latents_at_the_end(head):
    """The last convolution makes latents, which bfloat16 would round to three digits: it stays in float32."""
    torch.manual_seed(0)
    adapter = LatentUpscaler(AdapterConfig.sized("tiny", channels=4, skip="none", depths=(2,), head=head))
    last = adapter.heads["x2" if head == "pixelshuffle" else "liif"].conv_last
    seen = []
    last.register_forward_hook(lambda layer, inputs, output: seen.append((inputs[0], output)))
    with torch.autocast("cpu", torch.bfloat16):
        latents = adapter(torch.randn(1, 4, 8, 8), 2)
    assert latents.dtype == torch.float32
    for inputs, output in seen:
        exact = torch.nn.functional.conv2d(inputs.float(), last.weight, last.bias, padding=last.padding)
        assert torch.equal(output, exact)
    assert seen


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_half_precision_keeps_the_picture_and_its_mean_colour(dtype):
    """From picture to picture with the shipped weights; bounds are those of a picture that nobody can tell apart."""
    image = to_tensor(dead_leaves(128, 3))
    right = upscale_tensor(*load_pair("lua-tiny-d16", device="cpu"), image, 2)
    adapter, codec = load_pair("lua-tiny-d16", device="cpu")
    levels = 127.5 * (upscale_tensor(adapter.to(dtype), codec.to(dtype), image, 2).float() - right)
    assert 10 * torch.log10(255**2 / levels.square().mean()) > 56
    assert abs(float(levels.mean())) < 0.05

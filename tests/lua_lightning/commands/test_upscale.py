import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lua_lightning.cli import main
from lua_lightning.commands.upscale import SMALLEST_TILE
from lua_lightning.errors import UserError
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.pipeline import check_pair, upscale_latents, upscale_tensor


@pytest.fixture(scope="module")
def adapter():
    torch.manual_seed(0)
    model = LatentUpscaler(AdapterConfig(channels=4, embed_dim=16, depths=(2,), num_heads=2, window_size=4, head_dim=8))
    for head in model.heads.children():
        torch.nn.init.normal_(head.conv_last.weight, std=0.02)
    return model.eval()


@pytest.fixture(scope="module")
def adapter_folder(adapter, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter") / "small"
    adapter.save_pretrained(folder)
    return folder


def picture(path: Path, width: int, height: int) -> Path:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def upscale(adapter_folder, codec_folder, *arguments):
    return main(["upscale", *map(str, arguments), "--adapter", str(adapter_folder), "--codec", str(codec_folder)])


@pytest.mark.parametrize("size", [(64, 48), (33, 71), (1, 9)])
@pytest.mark.parametrize("scale", [2, 4])
def test_any_size_becomes_exactly_scale_times_as_large(adapter, codec, size, scale):
    image = torch.rand(1, 3, *size) * 2 - 1
    result = upscale_tensor(adapter, codec, image, scale)
    assert result.shape == (1, 3, size[0] * scale, size[1] * scale)
    assert result.abs().max() <= 1


def test_an_image_of_whole_latents_is_encoder_adapter_decoder(adapter, codec):
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = codec.decode(adapter(codec.encode(image), 2)).clamp(-1, 1)
    torch.testing.assert_close(upscale_tensor(adapter, codec, image, 2), expected)


@pytest.mark.parametrize("scale", [2, 4])
def test_the_smallest_tiles_give_nearly_the_whole(adapter, codec, scale):
    image = torch.rand(1, 3, 200, 144) * 2 - 1
    whole = upscale_tensor(adapter, codec, image, scale, tile=None)
    assert (upscale_tensor(adapter, codec, image, scale, tile=SMALLEST_TILE) - whole).abs().mean() < 0.02


def test_an_adapter_of_raw_latents_is_given_raw_latents(adapter, codec):
    latents = torch.randn(1, 4, 8, 8)
    raw = LatentUpscaler(AdapterConfig.from_dict({**vars(adapter.config), "space": "raw"})).eval()
    raw.load_state_dict(adapter.state_dict())
    with torch.no_grad():
        expected = codec.normalise(raw(codec.denormalise(latents), 2))
    torch.testing.assert_close(upscale_latents(raw, codec, latents, 2), expected)
    assert not torch.allclose(upscale_latents(adapter, codec, latents, 2), expected)


def test_a_pair_that_shares_no_space_is_refused(codec):
    with pytest.raises(UserError, match=r"16 channels .* 4 channels"):
        check_pair(LatentUpscaler(AdapterConfig(channels=16, embed_dim=8, depths=(1,), num_heads=1)), codec)


def test_the_command_enlarges_a_file(tmp_path, adapter_folder, codec_folder, capsys):
    source = picture(tmp_path / "photo.png", 61, 43)
    assert upscale(adapter_folder, codec_folder, source, "-o", tmp_path / "out.png") == 0
    with Image.open(tmp_path / "out.png") as result:
        assert result.size == (122, 86)
    assert "61x43 -> 122x86" in capsys.readouterr().out


def test_the_command_enlarges_a_folder_and_tells_what_it_left_out(tmp_path, adapter_folder, codec_folder, capsys):
    picture(tmp_path / "in" / "a.png", 40, 32)
    picture(tmp_path / "in" / "deep" / "b.jpg", 32, 40)
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    status = upscale(adapter_folder, codec_folder, tmp_path / "in", "-o", tmp_path / "out", "--scale", 4)
    assert status == 1
    assert "notes.txt" in capsys.readouterr().err
    made = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert made == {"a_x4.png", "deep/b_x4.png"}
    with Image.open(tmp_path / "out" / "deep" / "b_x4.png") as result:
        assert result.size == (128, 160)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.png", "-o", "out.png"], "does not exist"),
        (["photo.png", "-o", "out.png", "--scale", "5"], "at most 4 times"),
        (["photo.png", "-o", "out.png", "--tile", "8"], "too small"),
        (["photo.png", "-o", "out.pgn"], "pgn"),
        (["broken.png", "-o", "out.png"], "broken.png"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(
    tmp_path, adapter_folder, codec_folder, arguments, said, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photo.png", 32, 32)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG but no more")
    assert upscale(adapter_folder, codec_folder, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_an_adapter_name_nobody_knows_lists_the_embedded_ones(tmp_path, capsys):
    picture(tmp_path / "photo.png", 32, 32)
    assert main(["upscale", str(tmp_path / "photo.png"), "-o", str(tmp_path / "o.png"), "--adapter", "lua-tny"]) == 2
    assert "tiny-d16" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("side", "scale"), [(2048, 2), (1024, 4)])
def test_4096_pixels_need_less_than_3_gib(tmp_path, side, scale):
    source = picture(tmp_path / "photo.png", side, side)
    command = [sys.executable, "-m", "lua_lightning.cli", "upscale", str(source), "-o", str(tmp_path / "out.png")]
    subprocess.run([*command, "--scale", str(scale), "--device", "cpu"], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(json.dumps({"side": side, "scale": scale, "peak_gib": peak}))
    with Image.open(tmp_path / "out.png") as result:
        assert result.size == (4096, 4096)
    assert peak < 3


def test_latents_beyond_the_trained_range_are_reported(adapter, codec, caplog):
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    upscale_tensor(adapter, codec, image, 2)  # the range is not known: nothing to say
    with torch.no_grad():
        latents = adapter(codec.encode(image), 2)
    known = LatentUpscaler(adapter.config).eval()
    known.load_state_dict(adapter.state_dict())
    known.set_latent_range([float(latents.min())] * 4, [float(latents.max())] * 4)
    upscale_tensor(known, codec, image, 2)
    assert not caplog.records
    known.set_latent_range([-0.1] * 4, [0.1] * 4)
    upscale_tensor(known, codec, image, 2)
    share = float((latents.abs() > 0.1).float().mean())
    assert f"{100 * share:.1f} % of the enlarged latents lie beyond" in caplog.text

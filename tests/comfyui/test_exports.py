"""What `lua-lightning export NAME comfyui` writes, as the node pack loads it."""

import json
import shutil
import sys

import pytest
import torch

from lua_lightning.cli import main
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.known_codecs import KNOWN
from tests.comfyui.conftest import adapter, noise


def test_an_export_is_loaded_by_the_node_and_computes_what_the_adapter_does(nodes, run, models, capsys):
    assert main(["export", "lua-tiny-d16", "comfyui", "--out", str(models)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["files"] == ["LICENSE", "README.md", "lua-tiny-d16.safetensors"]
    assert facts["largest_difference"] == 0
    assert "lua-tiny-d16.safetensors" in nodes["LuaLoad"].define_schema().inputs[0].settings["options"]
    codec, model = LatentCodec.from_pretrained("tiny-d16"), LatentUpscaler.from_pretrained("lua-tiny-d16")
    latents = noise(1, 16, 9, 13)
    for scale in (2, 4):
        result, *_ = run("lua-tiny-d16.safetensors", codec.denormalise(latents), scale=scale)
        with torch.no_grad():
            expected = codec.denormalise(model(latents, scale))
        torch.testing.assert_close(result["samples"], expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("codec", "space"), [("flux", "normalised"), (None, "raw")])
def test_an_export_needs_no_autoencoder_that_the_node_knows_or_that_is_not_used(run, models, tmp_path, codec, space):
    model, samples = adapter(codec, space), noise(1, 4, 8, 8)
    model.save_pretrained(tmp_path / "mine")
    assert main(["export", str(tmp_path / "mine"), "comfyui", "--out", str(tmp_path / "out")]) == 0
    shutil.copy(tmp_path / "out" / "mine.safetensors", models)
    shift, factor = (0.1159, 0.3611) if codec else (0, 1)
    with torch.no_grad():
        expected = model((samples - shift) * factor, 2) / factor + shift
    torch.testing.assert_close(run("mine.safetensors", samples)[0]["samples"], expected, atol=1e-5, rtol=1e-5)


def test_an_export_takes_the_name_of_the_autoencoder_from_the_user(run, models, tmp_path, capsys):
    adapter("/somewhere/else").save_pretrained(tmp_path / "mine")
    out = ["--out", str(models), "--overwrite"]
    assert main(["export", str(tmp_path / "mine"), "comfyui", *out]) == 2
    assert "/somewhere/else" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "mine"), "comfyui", *out, "--codec", "sdxl"]) == 0
    with pytest.raises(ValueError, match=r"this adapter \(sdxl\) works on 4"):
        run("mine.safetensors", noise(1, 16, 8, 8))


def test_the_node_pack_knows_every_autoencoder_that_the_library_knows_by_name(nodes):
    latents = sys.modules[nodes["LuaLoad"].__module__.rpartition(".")[0] + ".latents"]
    assert {*latents.FAMILIES, *latents.FAMILY_OF} == set(KNOWN)

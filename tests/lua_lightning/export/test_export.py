"""The export command: what it writes, what it leaves alone, what it refuses, and that its models come back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers.utils import hub_utils
from safetensors.torch import load_file, save_file

from lua_lightning.cli import main
from lua_lightning.export import parity
from lua_lightning.export.diffusers import CLASS, CODE, module_of
from lua_lightning.export.source import joined
from lua_lightning.export.targets import TARGETS
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.onnx_upscaler import OnnxUpscaler
from tests.lua_lightning.export.conftest import TINY, export
from tests.lua_lightning.models.adapters import noise, small_adapter

TO_DIFFUSERS = ("diffusers", "modular", "pipeline")
ELSEWHERE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("lua_lightning", "baselines"):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Missing())
import torch
from diffusers import AutoModel, DiffusionPipeline, ModularPipeline
from safetensors.torch import load_file, save_file

folder = sys.argv[1]
latents = load_file(f"{folder}/latents.safetensors")["latents"]
with torch.no_grad():
    model = AutoModel.from_pretrained(f"{folder}/diffusers", trust_remote_code=True)
    model.save_pretrained(f"{folder}/again")
    again = AutoModel.from_pretrained(f"{folder}/again", trust_remote_code=True, dtype=torch.bfloat16)
    pipe = DiffusionPipeline.from_pretrained(f"{folder}/pipeline", trust_remote_code=True)
    step = ModularPipeline.from_pretrained(f"{folder}/modular", trust_remote_code=True)
    step.load_components(trust_remote_code=True)
    save_file({
        "diffusers": model(latents, scale=4).sample,
        "bfloat16": again(latents.bfloat16(), scale=4).sample.float(),
        "pipeline": pipe(latents=latents, upscale=4, output_type="latent").images,
        "image": pipe(latents=latents, upscale=4, output_type="pt").images.contiguous(),
        "modular": step(latents=latents, upscale=4, output="latents"),
    }, f"{folder}/found.safetensors")
"""


@pytest.fixture(scope="module")
def exports(tmp_path_factory, tiny) -> Path:
    """The folder of the exports to diffusers, one in a subfolder each."""
    folder = tmp_path_factory.mktemp("exports")
    for target in TO_DIFFUSERS:
        assert main(["export", str(tiny), target, "--out", str(folder / target), "--hub-id", "you/lua"]) == 0
    return folder


def test_everything_loads_where_the_library_is_not_installed(exports, tiny, codec_folder, tmp_path):
    adapter, codec = LatentUpscaler.from_pretrained(tiny), LatentCodec.from_pretrained(codec_folder)
    latents = noise(2, 4, 7, 10)
    save_file({"latents": latents}, exports / "latents.safetensors")
    environment = {**os.environ, "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ELSEWHERE, str(exports)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=exports)
    assert done.returncode == 0, done.stderr[-3000:]
    with torch.inference_mode():
        expected = adapter(latents, 4)
        image = (codec.decode(expected) / 2 + 0.5).clamp(0, 1)
    found = load_file(exports / "found.safetensors")
    for name in ("diffusers", "pipeline", "modular"):
        torch.testing.assert_close(found[name], expected, atol=1e-6, rtol=0, msg=lambda text, n=name: f"{n}: {text}")
    torch.testing.assert_close(found["image"], image, atol=1e-5, rtol=0)
    assert (found["bfloat16"] - expected).abs().max() < 0.1


def test_our_own_loaders_read_the_exports_back(exports, tiny):
    adapter, latents = LatentUpscaler.from_pretrained(tiny), noise(1, 4, 9, 5)
    for folder in (exports / "diffusers", exports / "pipeline/latent_upscaler"):
        again = LatentUpscaler.from_pretrained(folder)
        assert again.config == adapter.config
        assert torch.equal(again(latents, 2), adapter(latents, 2))
    assert LatentCodec.from_pretrained(exports / "pipeline").channels == 4


def test_cards_and_licences_go_with_every_export(exports):
    for target in TO_DIFFUSERS:
        card = (exports / target / "README.md").read_text()
        assert "license: cc0-1.0" in card
        assert "Trained on nothing." in card
        assert "Apache License" in (exports / target / "LICENSE").read_text()
    index = json.loads((exports / "modular/modular_model_index.json").read_text())
    assert index["latent_upscaler"][2]["pretrained_model_name_or_path"] == "you/lua"


def test_the_code_that_leaves_imports_nothing_of_ours(exports):
    files = sorted(exports.rglob("*.py"))
    assert {path.name for path in files} == {"modeling_lua.py", "modeling_patch.py", "block.py", "pipeline_lua.py"}
    for path in files:
        text = path.read_text()
        assert "lua_lightning" not in text.replace("only lua_lightning", ""), path
        compile(text, path.name, "exec")


def test_a_file_that_would_miss_something_is_not_joined():
    with pytest.raises(ValueError, match="which would be missing where it goes"):
        joined("head", ["models/adapter.py"])
    with pytest.raises(ValueError, match="both define"):
        joined("head", ["models/windows.py", "models/network.py", "models/../models/network.py"])


def test_a_model_is_pushed_with_its_code(exports, monkeypatch):
    pushed = {}
    monkeypatch.setattr(hub_utils, "create_repo", lambda repo_id, **_: type("Url", (), {"repo_id": repo_id}))
    monkeypatch.setattr(
        hub_utils, "upload_folder",
        lambda repo_id, folder_path, **_: pushed.update({repo_id: sorted(os.listdir(folder_path))}),
    )  # fmt: skip
    monkeypatch.setattr(hub_utils, "load_or_create_model_card", lambda *_, **__: None)
    monkeypatch.setattr(
        hub_utils, "populate_model_card", lambda *_, **__: type("Card", (), {"save": lambda *_: None})()
    )
    module = module_of(exports / "diffusers" / CODE)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    getattr(module, CLASS).from_pretrained(exports / "diffusers").push_to_hub("you/lua")
    assert {"config.json", "diffusion_pytorch_model.safetensors", "modeling_lua.py"} <= set(pushed["you/lua"])


def test_nothing_of_the_user_is_replaced_unasked(tmp_path, tiny, capsys):
    mine = tmp_path / "out" / "config.json"
    mine.parent.mkdir()
    mine.write_text("mine")
    (tmp_path / "out/notes.txt").write_text("mine too")
    arguments = [str(tiny), "diffusers", "--out", str(mine.parent)]
    assert main(["export", *arguments]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    export(capsys, *arguments, "--overwrite")
    assert "LatentUpscalerLUA" in mine.read_text()
    assert (tmp_path / "out/notes.txt").read_text() == "mine too"


@pytest.mark.parametrize("target", TARGETS)
def test_an_export_that_differs_is_not_kept(target, tmp_path, tiny, capsys, monkeypatch):
    if target == "onnx":  # what is checked is the other thing, so that no graph need be made
        monkeypatch.setattr("lua_lightning.export.onnx._write_graph", lambda *_: 20)
        monkeypatch.setattr(OnnxUpscaler, "forward", lambda self, latents, scale: latents.repeat(1, 1, scale, scale))
    else:
        monkeypatch.setattr(parity, "TOLERANCE", -1.0)
    assert main(["export", str(tiny), target, "--out", str(tmp_path / "out")]) == 2
    assert "it was not kept" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_export_of_another_shape_or_without_numbers_differs(tiny):
    adapter = LatentUpscaler.from_pretrained(tiny)
    for wrong in (lambda latents, scale: latents, lambda latents, scale: adapter(latents, scale) * torch.nan):
        with pytest.raises(Exception, match="was not kept"):
            parity.largest_difference(adapter, wrong, "test")
    assert len(parity.SIZES) == 5
    assert parity.largest_difference(adapter, adapter, "test") == 0


def test_what_cannot_be_exported_is_told_in_a_sentence(tmp_path, capsys):
    nameless = tmp_path / "nameless"
    small_adapter(**TINY).save_pretrained(nameless)
    for arguments, said in (
        (["lsr-tiny-d16", "diffusers"], "liif head"),
        (["swinir-tiny", "modular"], "enlarges pixels"),
        ([nameless, "pipeline"], "--codec"),
        ([nameless, "comfyui"], "--codec"),
        ([nameless, "comfyui", "--codec", "tiny-d16"], "choose a codec"),
        (["lsr-tiny-d16", "comfyui"], "liif head"),
        ([nameless, "pipeline", "--codec", "tiny-d16"], "choose a codec"),
        (["/nowhere", "onnx"], "/nowhere"),
    ):
        assert main(["export", *map(str, arguments), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_run_is_exported_by_its_folder_and_says_when_its_licence_is_unknown(tmp_path, capsys):
    small_adapter(**TINY).save_pretrained(tmp_path / "run/adapter")
    facts = export(capsys, tmp_path / "run", "diffusers", "--out", tmp_path / "out")
    assert facts["largest_difference"] == 0
    assert "modeling_lua.py" in facts["files"]
    card = (tmp_path / "out/README.md").read_text()
    assert "license: other" in card
    assert "state it in this header" in card

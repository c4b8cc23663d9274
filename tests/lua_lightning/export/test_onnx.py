"""Graphs of ONNX: what they say of themselves, and `upscale --runtime onnx`."""

import json
import sys

import numpy as np
import onnx
import pytest
from PIL import Image

from lua_lightning.cli import main
from lua_lightning.errors import UserError
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.onnx_upscaler import OnnxUpscaler
from tests.lua_lightning.models.adapters import noise, small_adapter


@pytest.fixture(scope="module")
def exported(tmp_path_factory, codec_folder):
    """Folders of an adapter for one scale and of its export."""
    folder = tmp_path_factory.mktemp("onnx")
    sizes = {"channels": 4, "embed_dim": 8, "depths": (2,), "num_heads": 2, "window_size": 4, "head_dim": 8}
    adapter = small_adapter(**sizes, scales=(2,), codec=str(codec_folder))
    adapter.save_pretrained(folder / "adapter")
    assert main(["export", str(folder / "adapter"), "onnx", "--out", str(folder / "out")]) == 0
    return folder / "adapter", folder / "out"


def test_a_graph_names_its_axes_and_the_adapter(exported):
    _, folder = exported
    graph = onnx.load(folder / "lua_x2.onnx")
    (latents,), (enlarged,) = graph.graph.input, graph.graph.output
    sides = [side.dim_param or side.dim_value for side in latents.type.tensor_type.shape.dim]
    assert (latents.name, sides) == ("latents", ["batch", 4, "height", "width"])
    assert enlarged.name == "enlarged"
    config = json.loads((folder / "config.json").read_text())
    assert config["onnx"]["opset"] == graph.opset_import[0].version >= 18
    assert json.loads(graph.metadata_props[0].value)["scale"] == 2
    assert "license: other" in (folder / "README.md").read_text()
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert sorted(path.name for path in folder.glob("*.onnx")) == ["lua_x2.onnx"]


def test_the_graph_computes_what_the_adapter_does(exported):
    adapter, graph = LatentUpscaler.from_pretrained(exported[0]), OnnxUpscaler(exported[1])
    for size in ((1, 6, 9), (2, 31, 4), (1, 1, 1)):
        latents = noise(size[0], 4, *size[1:])
        assert (graph(latents, 2) - adapter(latents, 2)).abs().max() < 1e-4
    for network in (adapter, graph):
        with pytest.raises(UserError, match="no head for scale 4"):
            network(noise(1, 4, 8, 8), 4)


def test_a_photograph_is_enlarged_by_either_runtime(exported, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 43, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    images = []
    for name, folder in zip(("torch", "onnx"), exported, strict=True):
        output = tmp_path / f"{name}.png"
        arguments = ["--adapter", str(folder), "--runtime", name, "--device", "cpu", "--output", str(output)]
        assert main(["upscale", str(tmp_path / "photo.png"), *arguments]) == 0
        images.append(np.asarray(Image.open(output), dtype=int))
    assert images[0].shape == (120, 86, 3)
    assert np.abs(images[0] - images[1]).max() <= 1


@pytest.mark.parametrize("case", ["no export", "no package"])
def test_what_onnx_runtime_cannot_run_is_told_in_a_sentence(case, exported, tmp_path, capsys, monkeypatch):
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")
    if case == "no package":
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    folder = exported[0] if case == "no export" else exported[1]
    arguments = ["--adapter", str(folder), "--runtime", "onnx", "--output", str(tmp_path / "out.png")]
    assert main(["upscale", str(tmp_path / "photo.png"), *arguments]) == 2
    error = capsys.readouterr().err
    assert ("is no ONNX export" if case == "no export" else "pip install 'lua-lightning[onnx]'") in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out.png").exists()

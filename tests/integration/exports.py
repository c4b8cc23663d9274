"""Compare the exports of an adapter with the adapter: `expect FOLDER` where it is installed, `check FOLDER` where not.

The exports lie in FOLDER/diffusers, FOLDER/modular, FOLDER/pipeline, FOLDER/comfyui and FOLDER/onnx. That for ComfyUI
is loaded by the node pack of the checkout, as far as it needs no ComfyUI.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

TOLERANCE = {
    "diffusers": 1e-5,
    "modular": 1e-5,
    "pipeline": 1e-5,
    "comfyui": 1e-5,
    "onnx": 1e-4,
    "bfloat16": 0.2,
}
SIZES = ((17, 24), (32, 32), (40, 13), (9, 9), (5, 3))


def expect(folder: Path) -> None:
    """Write latents and what the adapter makes of them."""
    from lua_lightning import LatentUpscaler

    adapter = LatentUpscaler.from_pretrained("lua-tiny-d16")
    tensors = {}
    for height, width in SIZES:
        latents = torch.randn(1, 16, height, width, generator=torch.Generator().manual_seed(height))
        tensors[f"{height}x{width}"] = latents
        for scale in (2, 4):
            with torch.inference_mode():
                tensors[f"{height}x{width} x{scale}"] = adapter(latents, scale)
    save_file(tensors, folder / "expected.safetensors")


def of_the_node_pack(path: Path) -> torch.nn.Module:
    """Return the network that the node pack makes of a file."""
    pack = ModuleType("pack")
    pack.__path__ = [str(Path(__file__).parents[2] / "comfyui")]
    sys.modules["pack"] = pack
    adapters = importlib.import_module("pack.adapters")
    with safe_open(path, "pt") as file:
        config, _ = adapters.describe(path, {}, file.metadata())
    return adapters.build(path.name, config, load_file(path))


@torch.inference_mode()
def check(folder: Path) -> None:
    """Print the largest difference of each export, and fail where one is too large."""
    assert importlib.util.find_spec("lua_lightning") is None, "lua_lightning is installed"
    import onnxruntime
    from diffusers import AutoModel, DiffusionPipeline, ModularPipeline

    trusted = {"trust_remote_code": True}
    model = AutoModel.from_pretrained(f"{folder}/diffusers", **trusted)
    half = AutoModel.from_pretrained(f"{folder}/diffusers", dtype=torch.bfloat16, **trusted)
    pipe = DiffusionPipeline.from_pretrained(f"{folder}/pipeline", **trusted)
    step = ModularPipeline.from_pretrained(f"{folder}/modular", **trusted)
    step.load_components(**trusted)
    node = of_the_node_pack(folder / "comfyui/lua-tiny-d16.safetensors")
    graphs = {scale: onnxruntime.InferenceSession(folder / f"onnx/lua_x{scale}.onnx") for scale in (2, 4)}
    AutoModel.from_pretrained(f"{folder}/run", **trusted)
    tensors, worst = load_file(folder / "expected.safetensors"), dict.fromkeys(TOLERANCE, 0.0)
    for height, width in SIZES:
        latents = tensors[f"{height}x{width}"]
        for scale in (2, 4):
            found = {
                "diffusers": model(latents, scale).sample,
                "bfloat16": half(latents.bfloat16(), scale).sample.float(),
                "pipeline": pipe(latents=latents, upscale=scale, output_type="latent").images,
                "modular": step(latents=latents, upscale=scale, output="latents"),
                "comfyui": node(latents, scale),
                "onnx": torch.from_numpy(graphs[scale].run(["enlarged"], {"latents": latents.numpy()})[0]),
            }
            for name, enlarged in found.items():
                difference = float((enlarged - tensors[f"{height}x{width} x{scale}"]).abs().max())
                worst[name] = max(worst[name], difference)
    assert pipe(latents=latents, upscale=2).images[0].size == (8 * 2 * width, 8 * 2 * height)
    for name, difference in worst.items():
        print(f"{name}: differs by {difference:.1e} at most")
    wrong = [name for name, difference in worst.items() if not difference <= TOLERANCE[name]]
    assert not wrong, wrong


if __name__ == "__main__":
    {"expect": expect, "check": check}[sys.argv[1]](Path(sys.argv[2]).resolve())

"""Stand-ins for the parts of ComfyUI that the node pack uses, by their documented signatures.

The server is in no package, so what is checked here is the pack's own work: files, forms, sizes, tiles, messages.
"""

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import torch
from safetensors import safe_open

PACK = Path(__file__).parents[2] / "comfyui"
TYPES = ("Combo", "Float", "Int", "Latent", "Model", "Image", "Vae")


class OutOfMemory(Exception):
    """Raised by networks that the tests let run out of memory."""


@dataclass
class Slot:
    """An input or an output of a node."""

    kind: str
    id: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def io_type(kind: str) -> type:
    def make(id: str | None = None, **settings: Any) -> Slot:
        return Slot(kind, id, settings)

    return type(kind, (), {"Input": staticmethod(make), "Output": staticmethod(make)})


class NodeOutput:
    """What a node returns."""

    def __init__(self, *values: Any) -> None:
        self.values = values


class ModelPatcher:
    """ComfyUI's handle of a model."""

    def __init__(self, model: torch.nn.Module, load_device: torch.device, offload_device: torch.device) -> None:
        self.model, self.load_device, self.offload_device = model, load_device, offload_device


class ProgressBar:
    """Counts what it is told."""

    made: ClassVar[list["ProgressBar"]] = []

    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0
        self.made.append(self)

    def update(self, value: int) -> None:
        self.count += value


def load_torch_file(path: str, safe_load: bool = False, device: Any = None, return_metadata: bool = False) -> Any:
    if path.endswith(".safetensors"):
        with safe_open(path, "pt") as file:
            tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    else:
        tensors, metadata = torch.load(path, weights_only=safe_load), None
    return (tensors, metadata) if return_metadata else tensors


def stand_ins(models: Path) -> dict[str, ModuleType]:
    """Return the modules by name; `models` is the folder of latent upscale models."""
    cpu, loaded = torch.device("cpu"), []
    parts = {
        "comfy": {},
        "comfy.model_management": {
            "get_torch_device": lambda: cpu,
            "unet_offload_device": lambda: cpu,
            "intermediate_device": lambda: cpu,
            "should_use_bf16": lambda device: False,
            "load_models_gpu": lambda models, memory_required=0: loaded.append((models, memory_required)),
            "soft_empty_cache": lambda: None,
            "OOM_EXCEPTION": OutOfMemory,
            "loaded": loaded,
        },
        "comfy.model_patcher": {"ModelPatcher": ModelPatcher},
        "comfy.utils": {"load_torch_file": load_torch_file, "ProgressBar": ProgressBar},
        "folder_paths": {
            "get_filename_list": lambda folder: sorted(
                path.relative_to(models).as_posix() for path in models.rglob("*") if path.suffix != ".json"
            ),
            "get_full_path_or_raise": lambda folder, name: str(models / name),
        },
        "comfy_api": {},
        "comfy_api.latest": {
            "ComfyExtension": type("ComfyExtension", (), {}),
            "io": SimpleNamespace(
                **{kind: io_type(kind.upper()) for kind in TYPES},
                Custom=io_type,
                Schema=SimpleNamespace,
                ComfyNode=type("ComfyNode", (), {}),
                NodeOutput=NodeOutput,
            ),
        },
    }
    modules = {name: ModuleType(name) for name in parts}
    for name, values in parts.items():
        vars(modules[name]).update(values)
        above, _, last = name.rpartition(".")
        if above:
            setattr(modules[above], last, modules[name])
    return modules


def load_pack(models: Path, monkeypatch: Any) -> ModuleType:
    """Return the pack, imported as ComfyUI does: from its folder, under a name that is no identifier."""
    for name, module in stand_ins(models).items():
        monkeypatch.setitem(sys.modules, name, module)
    name = "custom_nodes.lua-latent-upscaler"
    for known in [known for known in sys.modules if known.startswith(name)]:
        monkeypatch.delitem(sys.modules, known)
    spec = importlib.util.spec_from_file_location(name, PACK / "__init__.py", submodule_search_locations=[str(PACK)])
    assert spec is not None
    assert spec.loader is not None
    pack = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, pack)
    spec.loader.exec_module(pack)
    return pack


def workflow() -> dict[str, Any]:
    """Return the example workflow, in the form that ComfyUI's API takes."""
    return json.loads((PACK / "example_workflows" / "lua_upscale.json").read_text())

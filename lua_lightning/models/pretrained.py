"""Find, read and write pretrained folders: zoo names, local folders and hub ids, all in diffusers' folder format."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lua_lightning.documents import read_json
from lua_lightning.errors import UserError
from lua_lightning.files import write_json, write_tensors
from lua_lightning.zoo import ZOO, zoo_names

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
COMPUTED_BUFFERS = ("attn_mask", "relative_position_index")  # SwinIR's, which hold no learned values


def find_pretrained(source: str | Path, revision: str | None = None, subfolder: str | None = None) -> Path:
    """Return the local folder that holds `config.json` and weights for `source`.

    Args:
        source: A zoo name (see `zoo.zoo_names`), a local folder, or a Hugging Face repository id.
        revision: Commit, branch or tag of a hub repository.
        subfolder: Folder inside the repository or local folder, such as `vae`.

    Raises:
        UserError: Nothing of that name is in the zoo, on disk or, as far as it can be reached, on the hub.
    """
    if str(source) in zoo_names():
        return ZOO / str(source)
    local = Path(source).expanduser()
    if local.is_dir():
        for folder in (local, local / (subfolder or ".")):
            if (folder / CONFIG_NAME).is_file():
                return folder
        raise UserError(f"{local} has no {CONFIG_NAME}: it is not a pretrained folder (diffusers folder format)")
    if str(source).count("/") != 1 or local.is_absolute():
        raise UserError(
            f"{source!s} is neither a local folder, nor a hub id (owner/name), nor one of the embedded models: "
            f"{', '.join(zoo_names()) or 'none'}"
        )
    return _download(str(source), revision, subfolder)


def _download(repo_id: str, revision: str | None, subfolder: str | None) -> Path:
    from huggingface_hub import snapshot_download

    prefix = f"{subfolder}/" if subfolder else ""
    patterns = [f"{prefix}{CONFIG_NAME}", f"{prefix}*.safetensors"]
    try:
        root = snapshot_download(repo_id, revision=revision, allow_patterns=patterns)
    except Exception as error:  # the hub client raises a dozen unrelated types; all mean "could not fetch"
        raise UserError(
            f"{repo_id} could not be fetched from the hub ({type(error).__name__}); "
            "download it elsewhere and give the local folder's path instead"
        ) from error
    return Path(root) / prefix


def read_config(folder: Path) -> dict[str, Any]:
    """Return the folder's `config.json`.

    Raises:
        UserError: The file is missing, is not JSON, or holds no mapping of settings.
    """
    content = read_json(folder / CONFIG_NAME)
    if "" in content:
        raise UserError(f"{folder / CONFIG_NAME} holds a setting without a name: it is damaged, or another file")
    return content


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` or `.pth` file, or of a pretrained folder, without running code from it.

    Pickled files are read with `weights_only=True`; a file nested one level under `params_ema`, `params` or
    `state_dict`, as restoration repositories publish them, is unwrapped.

    Raises:
        UserError: The file is missing, damaged, or holds anything but tensors.
    """
    if path.is_dir():
        path = path / WEIGHTS_NAME
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, ... by kind of damage
        raise UserError(f"{path} is damaged or holds more than tensors, so it was not loaded ({error})") from error
    for key in ("params_ema", "params", "state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"{path} is not a state dict: expected tensors by name, or a dict with them under 'params_ema'")
    return loaded


def load_exactly(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load `tensors` into `model`, ignoring the buffers that published files hold and `model` computes.

    Raises:
        UserError: A tensor is missing, unexpected or of another shape.
    """
    weights = {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[2] not in COMPUTED_BUFFERS}
    expected = model.state_dict()
    problems = {
        "missing": expected.keys() - weights.keys(),
        "unexpected": weights.keys() - expected.keys(),
        "of another shape": {
            name for name in expected.keys() & weights.keys() if expected[name].shape != weights[name].shape
        },
    }
    found = [f"{len(names)} {kind} (such as {min(names)})" for kind, names in problems.items() if names]
    if found:
        raise UserError(f"{path} does not fit {type(model).__name__}: tensors {', '.join(found)}")
    model.load_state_dict(weights)


def write_pretrained(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write `config.json` and the weights into `folder`, in diffusers' folder format."""
    write_json(folder / CONFIG_NAME, config, indent=2)
    write_tensors(folder / WEIGHTS_NAME, tensors)


def weights_mark(source: str) -> str:
    """Return a text that changes when the weights of `source` do: name, size and time of every file, or a hub id.

    Args:
        source: A zoo name, a local folder or file, or a hub id, whose weights are taken not to change.
    """
    path = ZOO / source if (ZOO / source).is_dir() else Path(source).expanduser()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    facts = [(file.relative_to(path).as_posix(), file.stat()) for file in files if file.is_file()]
    return json.dumps([source, *((name, fact.st_size, fact.st_mtime_ns) for name, fact in facts)])


def state_dict_sha256(tensors: dict[str, Tensor]) -> str:
    """Return a hash of names, shapes, dtypes and values, independent of file format and key order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

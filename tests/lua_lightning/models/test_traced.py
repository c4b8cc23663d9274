"""The network traced by `torch.export`: one graph for every batch and all sides of more than one window.

That bound is PyTorch's, which takes counts of 1 for special; an ONNX graph has none (see `export/test_onnx.py`).
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lua_lightning.export.onnx import OneScale
from tests.lua_lightning.models.adapters import noise, small_adapter

SMALL = {"channels": 4, "embed_dim": 12, "depths": (2,), "num_heads": 2, "window_size": 4, "head_dim": 8}


@pytest.mark.parametrize(
    ("skip", "scale"),
    [
        ("linear", 2),
        pytest.param("bicubic", 4, marks=pytest.mark.slow),
        pytest.param("none", 2, marks=pytest.mark.slow),
    ],
)
def test_one_graph_serves_every_size(skip, scale):
    adapter = small_adapter(**SMALL, skip=skip).eval()
    free = torch.export.Dim.AUTO
    shapes = {"latents": {0: free, 2: free, 3: free}}
    program = torch.export.export(OneScale(adapter, scale), (noise(2, 4, 9, 10),), dynamic_shapes=shapes)
    graph = program.module()
    for batch, height, width in ((1, 17, 24), (2, 8, 8), (3, 5, 6), (1, 12, 31)):
        latents = noise(batch, 4, height, width)
        with torch.inference_mode():
            torch.testing.assert_close(graph(latents), adapter(latents, scale), atol=1e-5, rtol=0)


class Operations(TorchDispatchMode):
    """Notes the names of all operations."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("training", [False, True])
def test_no_pass_sorts_anything(training):
    """Sorting windows into their order was 84 sorts of a compiled pass at the paper's size."""
    adapter = small_adapter(**SMALL).train(training)
    with Operations() as seen, torch.set_grad_enabled(training):
        adapter(noise(2, 4, 9, 10), 2)
    assert any("native_layer_norm" in name for name in seen.names)
    assert not [name for name in seen.names if "sort" in name]

"""The plain losses are ours, as formulas."""

import pytest
import torch

from benchmarks.plain_losses import PLAIN
from lua_lightning.config import LossOptions
from lua_lightning.training.losses import TERMS

OTHER = LossOptions(fft_norm="backward", fft_reduction="sum", eagle_reduction="mean", downsample_factor=2)


@pytest.mark.parametrize("options", [LossOptions(), OTHER], ids=["default", "other"])
@pytest.mark.parametrize("name", PLAIN)
def test_values_and_gradients_are_those_of_our_terms(name, options):
    torch.manual_seed(0)
    target, prediction = torch.randn(2, 2, 3, 16, 28)
    found = []
    for term in (PLAIN[name], TERMS[name].compute):
        ours = prediction.clone().requires_grad_()
        value = term(ours, target, options, 4)
        value.backward()
        found.append((value, ours.grad))
    torch.testing.assert_close(*(value for value, _ in found), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(*(gradient for _, gradient in found), rtol=1e-3, atol=1e-6)

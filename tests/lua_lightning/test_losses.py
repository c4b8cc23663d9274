import numpy as np
import pytest
import torch

from lua_lightning.errors import UserError
from lua_lightning.losses import TERMS, check_weights, fft_magnitude, weighted_loss


def pair(shape=(2, 3, 7, 10)):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


REFERENCES = {
    "latent_l1": lambda a, b: np.abs(a - b).mean(),
    "latent_fft": lambda a, b: np.abs(
        np.abs(np.fft.fft2(a, norm="ortho")) - np.abs(np.fft.fft2(b, norm="ortho"))
    ).mean(),
}
CASES = {
    "random": pair(),
    "odd size": pair((1, 4, 5, 9)),
    "constant": (torch.full((1, 2, 8, 8), 0.3), torch.full((1, 2, 8, 8), -0.2)),
    "one pixel shift": (pair()[0], pair()[0].roll(1, dims=-1)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("term", TERMS)
def test_terms_equal_numpy(term, case):
    prediction, target = CASES[case]
    expected = REFERENCES[term](prediction.double().numpy(), target.double().numpy())
    assert TERMS[term](prediction, target).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("term", TERMS)
def test_terms_vanish_and_have_finite_gradients_at_equality(term):
    prediction = pair()[0].requires_grad_()
    loss = TERMS[term](prediction, prediction.detach().clone())
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(prediction.grad).all()


def test_magnitude_ignores_a_shift_that_l1_sees():
    prediction, target = CASES["one pixel shift"]
    assert fft_magnitude(prediction, target).item() == pytest.approx(0, abs=1e-6)
    assert TERMS["latent_l1"](prediction, target).item() > 0.1


@pytest.mark.parametrize("term", TERMS)
def test_terms_survive_bfloat16_autocast(term):
    prediction, target = (1000 * values for values in pair((1, 4, 64, 64)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = TERMS[term](prediction, target)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(TERMS[term](prediction, target).item())


def test_the_weighted_sum_leaves_out_zero_weights():
    prediction, target = pair()
    total, parts = weighted_loss(prediction, target, {"latent_l1": 2.0, "latent_fft": 0.0})
    assert list(parts) == ["latent_l1"]
    assert total.item() == pytest.approx(2 * parts["latent_l1"].item())


def test_unknown_terms_name_the_near_match():
    with pytest.raises(UserError, match="did you mean 'latent_fft'"):
        check_weights({"latent_ftf": 1.0})

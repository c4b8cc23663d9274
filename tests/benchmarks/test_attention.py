"""Ways to compute window attention, each against the exact one."""

import json

import pytest
import torch

from benchmarks import attention
from benchmarks.attention import explicit, factors, inputs, main, markdown, trained_bias, ways
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.windows import Windows


def test_the_bias_is_that_of_the_trained_adapter():
    adapter = LatentUpscaler.from_pretrained("lua-tiny-d16")
    attention = adapter.layers[0].residual_group["blocks"][0].attn
    relative = Windows(1, 1, 1, 8, torch.device("cpu"), in_parts=False).relative
    torch.testing.assert_close(trained_bias(8, 3, "cpu"), attention.bias(relative).detach())
    assert trained_bias(16, 12, "cpu").shape == (12, 256, 256)


def test_every_way_is_exact_where_nothing_is_left_out():
    parts, bias, scale = inputs("tiny", 256, "cpu")
    exact = explicit(*parts, bias, scale)
    known = ways(bias, with_flex=False)
    assert {"ours", "sdpa", "low rank 32"} <= set(known)
    for name in ("ours", "sdpa"):
        torch.testing.assert_close(known[name](*parts, bias, scale), exact, rtol=1e-4, atol=1e-5)
    left, right = factors(bias, 64)
    torch.testing.assert_close(left @ right.transpose(1, 2), bias, rtol=1e-4, atol=1e-5)
    errors = [float((known[f"low rank {rank}"](*parts, bias, scale) - exact).abs().max()) for rank in (8, 32)]
    assert errors[1] < errors[0] < 1


def test_the_command_measures_both_types(tmp_path, capsys):
    out = tmp_path / "out.json"
    assert main(["--sizes", "tiny", "--tokens", "128", "--repeats", "1", "--out", str(out)]) == 0
    content = json.loads(capsys.readouterr().out)
    rows = {(row["dtype"], row["way"]): row for row in content["rows"]}
    assert len(rows) == 2 * 6
    assert all(row["forward"]["median"] > 0 and row["training"]["median"] > 0 for row in rows.values())
    assert rows["float32", "sdpa"]["difference"] < 1e-5 < rows["bfloat16", "ours"]["difference"]
    assert "| tiny, 8x8, 16, float32, sdpa |" in markdown(content)


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--sizes", "tinny"], "tiny"), (["--repeats", "0"], "--repeats 0 is below 1")]
)
def test_mistakes_are_one_sentence(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_way_without_gradients_is_measured_forward_and_one_that_fails_is_told(monkeypatch):
    def forward_only(query, key, value, bias, scale):
        if bias.requires_grad:
            raise NotImplementedError("no gradients here")
        return explicit(query, key, value, bias, scale)

    def broken(*arguments):
        raise RuntimeError("no compiler\nhere")

    monkeypatch.setattr(attention, "ways", lambda *arguments: {"a": forward_only, "b": broken, "c": explicit})
    rows = {row.way: row for row in attention.measure("tiny", 64, 2, "cpu", False) if row.dtype == "float32"}
    assert rows["a"].forward.n == 2
    assert (rows["a"].training, rows["a"].unavailable) == (None, "NotImplementedError: no gradients here")
    assert (rows["b"].forward, rows["b"].difference) == (None, None)
    assert rows["c"].training.n == 2
    text = markdown({"rows": [attention.asdict(row) for row in rows.values()]})
    assert "tiny, 8x8, 16, float32, b | - | - | - |" in text
    assert "- tiny, 8x8, 16, float32, b: RuntimeError: no compiler" in text

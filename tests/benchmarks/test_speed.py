import json
from pathlib import Path

import pytest
import torch

from benchmarks.graphs import GRAPHS, random_pipeline
from benchmarks.speed import main, time_adapter
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler


def test_the_graph_is_that_of_sdxl():
    with torch.device("meta"):
        pipe = random_pipeline(GRAPHS["sdxl"])
    weights = {name: sum(value.numel() for value in getattr(pipe, name).parameters()) for name in ("unet", "vae")}
    weights |= {name: getattr(pipe, name).num_parameters() for name in ("text_encoder", "text_encoder_2")}
    assert weights == {  # as the published files hold
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    }


def test_a_variant_that_does_not_run_is_told_and_the_others_go_on(monkeypatch):
    def broken(model):
        def forward(latents, scale):
            raise RuntimeError("no compiler\nhere")

        return forward

    monkeypatch.setattr(torch, "compile", broken)
    adapter = LatentUpscaler(AdapterConfig.sized("tiny", channels=4))
    rows = time_adapter(adapter, {256: 128}, "cpu", repeats=2, warmups=1)
    assert [row["variant"] for row in rows] == [
        "float32 eager",
        "float32 compiled",
        "bfloat16 eager",
        "bfloat16 compiled",
    ]
    assert rows[0]["seconds"]["n"] == 2
    assert rows[1]["unavailable"] == "RuntimeError: no compiler here"
    assert rows[2]["seconds"]["median"] > 0


def test_a_size_off_the_ladder_is_refused(capsys):
    assert main(["--graph", "sdxl-small", "--sizes", "300"]) == 2
    assert "measured at [256, 512, 1024] px, not at [300]" in capsys.readouterr().err


@pytest.mark.slow
def test_methods_are_timed_on_the_small_graph(tmp_path, capsys):
    arguments = ["--graph", "sdxl-small", "--sizes", "256", "--steps", "2", "--repeats", "2", "--warmups", "1"]
    names = ["direct", "hidiffusion", "lsr", "swinir", "lua", "lua-refine", "demofusion", "lsrna-demofusion"]
    assert main([*arguments, "--methods", *names, "--out", str(tmp_path)]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads(Path(line["results"]).read_text())["rows"] == line["rows"]
    rows = {row["method"]: row for row in line["rows"]}
    assert all("seconds" in row for row in rows.values()), rows
    assert rows["swinir"]["times_lua"] > 1
    assert {row["variant"] for row in line["adapter"] if "seconds" in row} >= {"float32 eager", "bfloat16 eager"}

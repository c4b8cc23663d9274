import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from benchmarks.recording import reduced
from benchmarks.report import cell, columns_of, data_uri, markdown, page, pareto, plot, shown_metric

RESULTS = {
    "protocol": "2",
    "commit": "0" * 40,
    "device": "CPU",
    "generator": "tiny-sdxl",
    "size": 512,
    "remark": "small",
    "differences": {"latent-bicubic": {"psnr": {"value": 6.0, "low": 5.0, "high": 7.0, "lua_is": "better"}}},
    "failures": {"hidiffusion": "another UNet is needed"},
    "rows": [
        {
            "method": method,
            "track": track,
            "size": 512,
            "n": 3,
            "metrics": {
                metric: {"value": value, "low": value - 1, "high": value + 1},
                "fid/inception": {"unavailable": "no weights </script>"},
            },
            **({"seconds": {"generate": 1.0, "total": seconds}, "peak_memory_mib": 800.4} if seconds else {}),
        }
        for method, track, metric, value, seconds in (
            ("lua", "reconstruction", "psnr", 32.0, None),
            ("latent-bicubic", "reconstruction", "psnr", 26.0, None),
            ("lua", "generation", "kid/effnet-lite0", 0.1234, 2.0),
            ("latent-bicubic", "generation", "kid/effnet-lite0", 0.5, 1.5),
        )
    ],
}


def test_the_table_has_every_number_and_every_reason():
    text = markdown(RESULTS)
    assert "| lua | 3 | 32.00 [31.00, 33.00] |" in text
    assert "| lua | 3 | 0.1234 [-0.8766, 1.1234] | 2.00 | 800 |" in text
    assert "| latent-bicubic | +6.000 [+5.000, +7.000] better |" in text
    assert "- hidiffusion: another UNet is needed" in text
    assert "- FID (Inception): no weights" in text
    assert columns_of(RESULTS["rows"]) == ["psnr", "kid/effnet-lite0"]


@pytest.mark.parametrize(
    ("metrics", "name", "text"),
    [
        ({}, "psnr", "-"),
        ({"psnr": {"unavailable": "why"}}, "psnr", "-"),
        ({"kid/inception": {"value": 0.00123}}, "kid/inception", "0.0012"),
        ({"fid/inception": {"value": 250.0, "note": "few samples"}}, "fid/inception", "250.00*"),
    ],
)
def test_a_cell_shows_what_is_known(metrics, name, text):
    assert cell({"metrics": metrics}, name) == text


def test_every_part_of_the_report_prints_by_the_table_of_metrics():
    text = markdown(RESULTS)
    assert "| reconstruction | n | PSNR, dB |" in text
    assert "| generation | n | KID (EffNet-Lite0) | time, s | memory, MiB |" in text
    assert shown_metric("kid/effnet-lite0")["digits"] == 4


def test_a_users_images_are_shown_as_they_are_read(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(tmp_path / "mine.png", exif=turned)
    shown = Image.open(io.BytesIO(base64.b64decode(data_uri(tmp_path / "mine.png").partition(",")[2])))
    assert shown.size == (20, 40)
    assert reduced(tmp_path / "mine.png").shape == (40, 20, 3)
    clear = np.zeros((8, 8, 4), dtype=np.uint8)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert (reduced(tmp_path / "clear.png") == 255).all()


def test_the_front_holds_what_nothing_beats_in_both():
    points = [(1.0, 5.0), (2.0, 4.0), (3.0, 7.0), (1.0, 6.0), (4.0, 7.0)]
    assert pareto(points, higher=True) == [3, 2]
    assert pareto(points, higher=False) == [0, 1]


def test_the_page_stands_alone_and_its_data_cannot_break_out(tmp_path):
    figure = tmp_path / "plot.png"
    plot(RESULTS, "psnr").savefig(figure)
    images = {}
    for method in ("lua", "latent-bicubic"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / f"{method}.png")
        images[method] = [tmp_path / f"{method}.png"]
    prompts = ["a lake <b>", "<!--<script>", "-->&amp;\u2028 ' \" \\"]
    text = page({**RESULTS, "prompts": prompts}, images, figure)
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    inside = re.search(r'id="data" type="application/json">(.*?)</script>', text, re.S)[1]
    assert not set(inside) & set("<>&")  # after `<!--<script>` a browser takes the script's own end for text
    data = json.loads(inside)
    assert data["prompts"] == prompts
    assert data["unavailable"]["FID (Inception)"] == "no weights </script>"
    assert data["images"]["lua"][0].startswith("data:image/jpeg;base64,")
    assert {name: metric["higher"] for name, metric in data["metrics"].items()} == {
        "psnr": True, "kid/effnet-lite0": False, "seconds": False, "peak_memory_mib": False,
    }  # fmt: skip
    assert data["about"]["lua"] == "the latent upscaler adapter, then decoding"

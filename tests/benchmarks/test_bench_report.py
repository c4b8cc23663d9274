import base64
import copy
import io
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from benchmarks.pages import jpeg_uri
from benchmarks.recording import reduced
from benchmarks.report import cell, joined, markdown, pareto, plot, write_plot, write_report
from benchmarks.report_page import columns_of, page, shown_metric, strongest_rival
from lua_lightning.evaluation.intervals import Estimate
from lua_lightning.pictures import read_image

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
    shown = Image.open(io.BytesIO(base64.b64decode(jpeg_uri(read_image(tmp_path / "mine.png")).partition(",")[2])))
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
    assert data["pairs"] == {"lua": RESULTS["differences"]}
    assert data["metrics"]["psnr"]["scored"]
    assert not shown_metric("dists/vgg-l2")["scored"]
    assert data["about"]["lua"] == "the latent upscaler adapter, then decoding"


@pytest.fixture
def timed():
    """Results in which a method that cannot be beaten has a name that XML and formulas must not take."""
    results = copy.deepcopy(RESULTS) | {"prompts": ["a lake"]}
    best = copy.deepcopy(results["rows"][2]) | {"method": "<fast & $sharp$>", "seconds_spread": {"low": 0.5, "high": 3}}
    best["metrics"]["kid/effnet-lite0"] = {"value": 0.1, "low": 0.05, "high": 0.2}
    results["rows"].append(best)
    return results


def test_points_have_both_intervals(timed):
    lua, _, best = joined(timed, "kid/effnet-lite0")
    assert (best.seconds, best.value) == (Estimate(2.0, 0.5, 3), Estimate(0.1, 0.05, 0.2))
    assert (lua.method, lua.seconds) == ("lua", Estimate(2.0, 2.0, 2.0))
    assert joined(timed, "psnr")[1].method == "latent-bicubic"


def test_the_plot_draws_the_intervals_where_they_are(timed):
    (axes,) = plot(timed, "kid/effnet-lite0").axes
    drawn = [tuple(map(tuple, segment)) for lines in axes.collections for segment in lines.get_segments()]
    assert ((0.5, 0.1), (3.0, 0.1)) in drawn
    assert ((2.0, pytest.approx(0.05)), (2.0, pytest.approx(0.2))) in drawn


def test_the_svg_keeps_its_text_and_is_the_same_each_time(timed, tmp_path):
    for name in ("one.svg", "two.svg"):
        write_plot(plot(timed, "kid/effnet-lite0"), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    texts = {node.text for node in ElementTree.parse(tmp_path / "one.svg").iter() if node.tag.endswith("}text")}
    assert {"lua", "latent-bicubic", "<fast & $sharp$>"} <= texts


def test_the_report_writes_the_plot_and_shows_it(timed, tmp_path):
    paths = write_report(timed, {}, tmp_path)
    assert "data:image/svg+xml;base64," in paths["report"].read_text()
    assert paths["plot"].read_bytes().startswith(b"\x89PNG")


def test_without_a_time_the_report_says_that_there_is_no_plot(tmp_path):
    results = RESULTS | {"prompts": [], "rows": RESULTS["rows"][:2]}
    paths = write_report(results, {}, tmp_path)
    assert "No method has both" in paths["report"].read_text()
    assert not paths["plot"].exists()


def test_the_page_opens_beside_the_strongest_rival():
    results = copy.deepcopy(RESULTS)
    rows = results["rows"]
    rows.append(copy.deepcopy(rows[0]) | {"method": "pixel-bicubic"})
    rows.append(copy.deepcopy(rows[0]) | {"method": "ceiling"})
    rows[-1]["metrics"]["psnr"]["value"] = 40.0
    rows.append(copy.deepcopy(rows[0]) | {"method": "swinir"})
    rows[-1]["metrics"]["psnr"]["value"] = 31.0
    names = ["lua", "latent-bicubic", "pixel-bicubic", "swinir"]
    assert strongest_rival(results, names) == "pixel-bicubic"
    assert strongest_rival(results, ["lua", "latent-bicubic", "swinir"]) == "swinir"
    assert strongest_rival({"rows": []}, names) == "latent-bicubic"


def test_a_home_is_not_shared(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ada")
    results = copy.deepcopy(RESULTS) | {"prompts": []}
    results["failures"]["lsr"] = "the weights /home/ada/lsr are not there"
    assert "the weights ~/lsr are not there" in page(results, {}, None)
    assert "/home/ada" not in page(results, {}, None)


def test_ticks_are_plain_numbers(timed):
    (axes,) = plot(timed, "kid/effnet-lite0").axes
    labels = [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_xticklabels(minor=True))]
    shown = [label for label in labels if label]
    assert shown
    assert all(float(label) > 0 for label in shown)

"""The README shows one measured result: its tables are those that `make docs` writes, under the rows' own names."""

import copy
import json
import os
import re

import pytest
from PIL import Image

from benchmarks.protocol import VERSION
from benchmarks.zoo_check import shipped
from docs import measured as module
from docs.contact_sheet import CELL, MARGIN, TITLE, sheet
from docs.measured import measured, newest, write_measured
from docs.pages import ROOT, write_between
from docs.readme_tables import heading, methods_table
from docs.zoo import gains, gains_table
from lua_lightning.errors import UserError
from lua_lightning.evaluation.rows import ROWS
from lua_lightning.training.cards import CARD
from lua_lightning.zoo import ZOO


def between(name):
    text = (ROOT / "README.md").read_text()
    return re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", text, re.S)[1]


def test_the_readme_shows_the_measured_result():
    results = measured()
    assert between("benchmark") == f"{heading(results)}\n\n{methods_table(results)}"
    assert between("zoo") == gains_table(gains())


def test_the_table_of_methods_has_the_rows_names():
    lines = methods_table(measured()).splitlines()[2:]
    assert {line.split("|")[1].strip(" *") for line in lines} <= set(ROWS)


def test_every_shipped_adapter_was_measured_and_its_card_says_so():
    rows = gains()
    assert {row.adapter for row in rows} == set(shipped())
    for name in shipped():
        card = (ZOO / name / CARD).read_text()
        assert gains_table([row for row in rows if row.adapter == name], names=False) in card


def test_another_protocol_is_refused(tmp_path, monkeypatch):
    other = copy.deepcopy(json.loads(module.MEASURED.read_text()))
    other["512"]["protocol"] = "0"
    monkeypatch.setattr(module, "MEASURED", tmp_path / "measured.json")
    module.MEASURED.write_text(json.dumps(other))
    with pytest.raises(UserError, match="run `make docs-measure`"):
        measured()
    for size in other:
        other[size]["protocol"] = "0"
    module.MEASURED.write_text(json.dumps(other))
    with pytest.raises(UserError, match="run `make docs-measure`"):
        measured()


def test_an_earlier_protocol_is_shown_apart_with_a_sentence():
    results = measured()
    for protocol, told in (("1", True), (VERSION, False)):
        for result in results.values():
            result["protocol"] = protocol
        assert ("intervals are too narrow" in " ".join(heading(results).split())) == told


@pytest.fixture
def runs(tmp_path):
    """Two benchmarks at one size, each of two methods and one prompt; the newer one last."""
    for number, mark in enumerate(("old", "new")):
        folder = tmp_path / f"512-tiny-sdxl-{mark}"
        rows = [{"method": name, "seconds": {"total": 1.25}} for name in ("native", "lua")]
        rows.append({"method": "ceiling"})
        for row in rows[:2]:
            path = folder / "images" / row["method"] / "0000.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (16, 16), "red").save(path)
        path = folder / "results.json"
        path.write_text(json.dumps({"protocol": VERSION, "size": 512, "prompts": ["a lake"], "rows": rows}))
        os.utime(path, (number, number))
    return tmp_path


def test_the_newest_finished_benchmark_is_collected(runs):
    folder = newest(512, runs)
    assert folder.name == "512-tiny-sdxl-new"
    write_measured({512: folder}, runs / "measured.json")
    assert json.loads((runs / "measured.json").read_text())["512"]["prompts"] == ["a lake"]
    with pytest.raises(UserError, match="run `make bench-1024` first"):
        newest(1024, runs)


def test_the_contact_sheet_shows_the_benchmarks_own_images(runs):
    picture = sheet(newest(512, runs))
    assert picture.size == (CELL + MARGIN, 2 * (CELL + MARGIN) + 2 * TITLE)
    assert picture.getpixel((CELL // 2, TITLE + CELL // 2)) == (255, 0, 0)
    (runs / "512-tiny-sdxl-new/images/lua/0000.png").unlink()
    with pytest.raises(UserError, match="run `make bench-512` again"):
        sheet(newest(512, runs))


def test_only_what_is_between_the_markers_is_written(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nafter\n")
    write_between(page, "a", "new")
    assert page.read_text() == "before\n<!-- a -->\nnew\n<!-- /a -->\nafter\n"
    with pytest.raises(ValueError, match="substring not found"):
        write_between(page, "b", "new")

"""docs/speed.md has a place for every table, and keeps what was not measured."""

import pytest

from docs.speed_tables import PAGE, TABLES, main, methods
from lua_lightning.files import write_json

MADE = {"device": "a CPU", "threads": 2, "commit": "0123456789", "versions": {"torch": "2.0"}}


def spread(median):
    return {"median": median, "low": 0.9 * median, "high": 1.1 * median, "n": 3}


@pytest.fixture
def page(tmp_path):
    copy = tmp_path / "speed.md"
    copy.write_text(PAGE.read_text())
    return copy


def test_the_page_has_a_place_for_every_table():
    text = PAGE.read_text()
    for name in TABLES:
        assert text.count(f"<!-- {name} -->") == text.count(f"<!-- /{name} -->") == 1


def test_what_was_measured_is_put_in_and_the_rest_stays(page, tmp_path, capsys):
    rows = [
        {"codec": "tiny-d16", "px": px, "way": way, "seconds": spread(px / 512), "peak_mib": 10.0, "per_pixel": 1.0}
        for px in (512, 1024)
        for way in ("whole", "tiles")
    ]
    write_json(tmp_path / "runs/decode-speed.json", {**MADE, "rows": rows})
    (row, *_), before = PAGE.read_text().partition("<!-- decoding -->"), page.read_text()
    assert main(["--page", str(page), "--runs", str(tmp_path / "runs")]) == 1
    after = page.read_text()
    assert after.startswith(row)
    assert "Measured on a CPU, 2 threads, PyTorch 2.0, commit 0123456." in after
    assert "| tiny-d16, 1024 px | 2.00 | 2.00 |" in after
    assert after.partition("<!-- /decoding -->")[2] == before.partition("<!-- /decoding -->")[2]
    said = capsys.readouterr().err
    assert said.count("its table stays as it was") == len(TABLES) - 1


def test_methods_are_related_to_the_adapter():
    seconds = {"lua": {"upscale": spread(1.0)}, "swinir": {"generate": spread(50.0), "upscale": spread(3.0)}}
    rows = [
        {"method": name, "size": 1024, "seconds": taken, "peak_memory_mib": {"upscale": 5.0}}
        for name, taken in seconds.items()
    ]
    rows.append({"method": "direct", "size": 1024, "unavailable": "out of memory"})
    text = methods({**MADE, "graph": "sdxl-small", "steps": 10, "rows": rows})
    assert "| 1024 | swinir | 53.00 | 3.00 (2.45 to 3.67) | 5 MiB, n=3 |" in text
    assert "| 1024 | lua | 1.00 | - |" in text
    assert "| 1024 | direct | - | - | out of memory |" in text


def test_a_damaged_file_is_one_sentence(page, tmp_path, capsys):
    (tmp_path / "decode-speed.json").write_text("{")
    assert main(["--page", str(page), "--runs", str(tmp_path)]) == 2
    assert "decode-speed.json" in capsys.readouterr().err

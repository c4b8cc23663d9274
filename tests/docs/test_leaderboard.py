"""The leaderboard's page shows what its file holds, and takes nothing that the checker refuses."""

import copy
import json

import pytest

from benchmarks.submission import problems
from docs import leaderboard
from tests.benchmarks.test_submission import GOOD


@pytest.fixture
def board(tmp_path, monkeypatch):
    """An empty leaderboard of the test's own."""
    (tmp_path / "page.md").write_text("# Leaderboard\n<!-- entries -->\n<!-- /entries -->\n")
    monkeypatch.setattr(leaderboard, "ENTRIES", tmp_path / "entries.json")
    monkeypatch.setattr(leaderboard, "PAGE", tmp_path / "page.md")
    return tmp_path


def add(folder, results, *arguments):
    (folder / "results.json").write_text(json.dumps(results))
    return leaderboard.main([str(folder / "results.json"), *arguments])


def entries(folder):
    return json.loads((folder / "entries.json").read_text())["entries"]


def test_the_page_shows_what_the_file_holds():
    listed_entries = json.loads(leaderboard.ENTRIES.read_text())["entries"]
    assert listed_entries
    page = leaderboard.PAGE.read_text()
    assert (
        page.split("<!-- entries -->")[1].split("<!-- /entries -->")[0].strip()
        == leaderboard.tables(listed_entries).strip()
    )


def test_added_results_are_on_the_page_with_their_intervals(board):
    assert problems(GOOD) == []
    assert add(board, GOOD, "--by", "Ada <b>| [x](http://y)") == 0
    assert add(board, GOOD, "--by", "Ada <b>| [x](http://y)") == 0  # the same again, in place of the first
    assert len(entries(board)) == 1
    page = (board / "page.md").read_text()
    assert "### 512 px with tiny-sdxl on NVIDIA H100" in page
    assert "| lua | 2 | 29.00 [28.00, 30.00] | 0.75 [-0.25, 1.75] |" in page
    assert "| lua | 2 | 0.0100 [-0.9900, 1.0100] | 250.00* | 1.50 | 800 |" in page
    assert "By Ada b x (http //y), commit" in page
    assert "<b>" not in page
    assert "[x]" not in page


def test_other_devices_and_counts_have_tables_of_their_own(board):
    other = copy.deepcopy(GOOD) | {"device": "another device"}
    few = copy.deepcopy(GOOD)
    few["config"]["prompts"] = 1
    for results in (GOOD, other, few):
        assert add(board, results) == 0
    assert len(entries(board)) == 3
    assert (board / "page.md").read_text().count("### 512 px") == 3


def test_a_row_made_elsewhere_stands_with_its_device(board):
    results = copy.deepcopy(GOOD)
    row = copy.deepcopy(next(row for row in results["rows"] if "seconds" in row))
    del row["peak_memory_mib"]
    assert any("peak_memory_mib" in problem for problem in problems(results | {"rows": [*results["rows"][:-1], row]}))
    results["rows"].append(row | {"method": "pid", "device": "RTX <4090>"})
    assert add(board, results) == 0
    line = next(line for line in (board / "page.md").read_text().splitlines() if line.startswith("| pid"))
    assert line.startswith("| pid (RTX 4090 ) |")
    assert line.endswith("| 1.50 | - |")
    results["rows"][-1]["device"] = 7
    assert "must be a text" in problems(results)[0]


def test_bad_results_change_nothing(board, capsys):
    assert add(board, GOOD) == 0
    before = (board / "page.md").read_bytes(), (board / "entries.json").read_bytes()
    assert add(board, GOOD | {"protocol": "0"}) == 2
    assert "results.json was not added: protocol is '0'" in capsys.readouterr().err
    assert ((board / "page.md").read_bytes(), (board / "entries.json").read_bytes()) == before

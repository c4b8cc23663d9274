"""Tables for papers and sheets: every number is there, and no name breaks the format."""

import csv
import io
import json
import shutil
import subprocess

import pytest

from benchmarks.commands.table import COMMAND
from benchmarks.tables import escaped, table
from lua_lightning.commands.command import run_command
from lua_lightning.errors import UserError
from tests.benchmarks.finished_run import finished, results_of_three

RESULTS = results_of_three(["a lake"])
TRACKS = ("reconstruction", "generation")
DOCUMENT = r"\documentclass{article}\usepackage{booktabs}\begin{document}%s\end{document}"


def test_csv_holds_whole_numbers_with_both_ends():
    rows = list(csv.DictReader(io.StringIO(table(RESULTS, "csv", TRACKS, []))))
    assert len(rows) == 6
    lua = next(row for row in rows if (row["method"], row["track"]) == ("lua", "generation"))
    assert [float(lua["kid/effnet-lite0" + end]) for end in ("", "/low", "/high")] == [0.1234, 0.1234 - 1, 1.1234]
    assert (float(lua["seconds"]), float(lua["peak_memory_mib"])) == (2.0, 800.4)
    assert (lua["psnr"], lua["seconds/low"]) == ("", "")


def test_latex_has_intervals_and_the_best_competitor_in_bold():
    text = table(RESULTS, "latex", ["reconstruction"], ["psnr"])
    assert r"\begin{tabular}{lrr}" in text
    assert r"lua & 3 & \textbf{32.00} {\scriptsize [31.00, 33.00]} \\" in text
    assert r"swinir & 3 & 26.00 {\scriptsize [25.00, 27.00]} \\" in text
    assert text.startswith("% protocol 2, generator tiny-sdxl, size 512")
    lower_is_better = table(RESULTS, "latex", ["generation"], [])
    assert r"lua & 3 & \textbf{0.1234} {\scriptsize [$-$0.8766, 1.1234]} & 2.00 & 800 \\" in lower_is_better


def test_a_reference_point_is_never_the_best():
    results = results_of_three(["a lake"])
    ceiling = json.loads(json.dumps(results["rows"][0])) | {"method": "ceiling"}
    ceiling["metrics"]["psnr"]["value"] = 40.0
    results["rows"].append(ceiling)
    text = table(results, "latex", ["reconstruction"], [])
    assert r"ceiling & 3 & 40.00 " in text
    assert r"\textbf{32.00}" in text


@pytest.mark.parametrize("kind", ["latex", "markdown"])
def test_what_was_not_measured_is_a_dash(kind):
    results = results_of_three(["a lake"])
    results["rows"][0]["metrics"]["psnr"] = {"unavailable": "why"}
    line = next(line for line in table(results, kind, ["reconstruction"], []).splitlines() if "lua" in line)
    assert line in (r"lua & 3 & -- \\", "| lua | 3 | - |")


def test_names_cannot_break_latex():
    assert escaped(r"a_b & 50% {x} \y ~^#$") == (
        r"a\_b \& 50\% \{x\} \textbackslash{}y \textasciitilde{}\textasciicircum{}\#\$"
    )


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_latex_takes_the_table(tmp_path):
    (tmp_path / "table.tex").write_text(DOCUMENT % table(RESULTS, "latex", TRACKS, []))
    subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"], cwd=tmp_path, check=True)


def test_an_unknown_metric_is_refused_with_the_measured_ones():
    with pytest.raises(UserError, match=r"unknown metric of these results 'psrn': did you mean 'psnr'"):
        table(RESULTS, "csv", TRACKS, ["psrn"])


def test_the_command_prints_or_writes(tmp_path, capsys):
    run = finished(tmp_path / "run", ["a lake"])
    assert run_command(COMMAND, "lua-lightning table", [str(run), "--metrics", "psnr"]) == 0
    printed = capsys.readouterr().out
    assert "| reconstruction | n | PSNR, dB |" in printed
    arguments = [str(run / "results.json"), "--metrics", "psnr", "-o", str(tmp_path / "table.md")]
    assert run_command(COMMAND, "lua-lightning table", arguments) == 0
    assert (tmp_path / "table.md").read_text() == printed

"""Remake what the README shows of the benchmark: its table and a picture of a report, from the newest finished runs.

Command: make docs-benchmark
"""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.config import PROTOCOL
from benchmarks.report import cell
from docs.build import ROOT, write_between
from lua_lightning.errors import UserError
from lua_lightning.evaluation.perceptual import EFFNET
from lua_lightning.evaluation.registry import label_of

RUNS = ROOT / "runs/bench"
SIZES = (512, 1024, 2048)
PICTURED = 512  # side of the images in the pictured report
WINDOW = (1180, 1500)  # pixels


def newest(size: int) -> Path:
    """Return the folder of the newest finished benchmark of the embedded generator at a size.

    Raises:
        UserError: There is none under this protocol.
    """
    found = [
        path
        for path in RUNS.glob(f"{size}-tiny-sdxl-*/results.json")
        if json.loads(path.read_text())["protocol"] == PROTOCOL
    ]
    if not found:
        raise UserError(f"{RUNS} holds no finished benchmark at {size} px: run `make bench-{size}` first")
    return max(found, key=lambda path: path.stat().st_mtime).parent


def table(results: Mapping[int, Mapping[str, Any]]) -> str:
    """Return one line per method: fidelity at x2 and x4, and seconds and memory at each size.

    Args:
        results: Contents of `results.json` by size; x2 is taken from 512 px and x4 from 1024 px.
    """
    rows = {(size, row["track"], row["method"]): row for size, own in results.items() for row in own["rows"]}
    names = list(dict.fromkeys(name for _, _, name in rows))
    heads = [label_of(f"{scale}/{metric}") for scale in ("x2", "x4") for metric in ("psnr", EFFNET)]
    heads += [f"{size} px, s" for size in SIZES] + [f"{SIZES[-1]} px, MiB"]
    lines = [f"| method | {' | '.join(heads)} |", "|" + "---|" * (1 + len(heads))]
    for name in names:
        cells = []
        for size in SIZES[:2]:
            row = rows.get((size, "reconstruction", name), {"metrics": {}})
            cells += [cell(row, metric, interval=False) for metric in ("psnr", EFFNET)]
        for size in SIZES:
            row = rows.get((size, "generation", name), {})
            cells.append(f"{row['seconds']['total']:.2f}" if "seconds" in row else "-")
        last = rows.get((SIZES[-1], "generation", name), {})
        cells.append(f"{last['peak_memory_mib']:.0f}" if "seconds" in last else "-")
        shown = f"**{name}**" if name == "lua" else name
        lines.append(f"| {' | '.join([shown, *cells])} |")
    return "\n".join(lines)


def heading(results: Mapping[int, Mapping[str, Any]]) -> str:
    """Return the sentence above the table: counts, steps, device."""
    own = results[SIZES[0]]
    crops = next(row["n"] for row in own["rows"] if row["track"] == "reconstruction")
    counts = ", ".join(
        f"{size} px from {found['base_size']} ({len(found['prompts'])} prompts, {found['config']['steps']} steps)"
        for size, found in results.items()
    )
    return (
        f"Protocol {PROTOCOL}, {own['device']}: {counts}; fidelity on {crops} crops of test photographs. "
        f"These are {own['remark']}."
    )


def photograph(report: Path, path: Path) -> None:
    """Write a picture of the top of a report, as Chromium shows it.

    Raises:
        UserError: There is no browser.
    """
    browser, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not browser or not driver:
        raise UserError("the report's picture needs chromium and chromedriver: apt-get install chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={WINDOW[0]},{WINDOW[1]}"):
        options.add_argument(flag)
    window = webdriver.Chrome(options=options, service=Service(driver))
    try:
        window.get(report.resolve().as_uri())
        window.save_screenshot(str(path))
    finally:
        window.quit()


def main() -> int:
    """Write the README's benchmark table and `docs/images/report.png`."""
    try:
        folders = {size: newest(size) for size in SIZES}
        photograph(folders[PICTURED] / "report.html", ROOT / "docs/images/report.png")
    except UserError as error:
        print(f"docs.benchmark_tables: {error}", file=sys.stderr)
        return 2
    results = {size: json.loads((folder / "results.json").read_text()) for size, folder in folders.items()}
    write_between(ROOT / "README.md", "benchmark", f"{heading(results)}\n\n{table(results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Collect the measured result that the README shows: the newest finished benchmarks of the embedded models.

Command: make docs-measure (about 40 minutes on two cores; finished images and scores are kept)
"""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.protocol import EARLIER, VERSION
from docs.contact_sheet import sheet
from docs.pages import ROOT
from lua_lightning.errors import UserError
from lua_lightning.files import write_json
from lua_lightning.generators.catalogue import GENERATORS

RUNS, MEASURED = ROOT / "runs/bench", ROOT / "docs/measured.json"
SIZES = (512, 1024, 2048)
PICTURED = 512  # side of the images in the pictured report and on the contact sheet
WINDOW = (1180, 1500)  # pixels
IMAGES = ROOT / "docs/images"


def measured() -> dict[int, dict[str, Any]]:
    """Return the measured result: the contents of `results.json`, by size.

    Raises:
        UserError: It was measured under several versions of the protocol, or an unknown one.
    """
    results = {int(size): result for size, result in json.loads(MEASURED.read_text()).items()}
    versions = {result["protocol"] for result in results.values()}
    if len(versions) > 1 or not versions <= {VERSION, *EARLIER}:
        found = ", ".join(sorted(versions))
        raise UserError(f"{MEASURED} is of protocol {found}, not of {VERSION} alone: run `make docs-measure`")
    return results


def newest(size: int, runs: Path = RUNS) -> Path:
    """Return the folder of the newest finished benchmark of the embedded generator at a size.

    Raises:
        UserError: There is none under this protocol.
    """
    generator = next(iter(GENERATORS))
    found = [
        path
        for path in runs.glob(f"{size}-{generator}-*/results.json")
        if json.loads(path.read_text())["protocol"] == VERSION
    ]
    if not found:
        raise UserError(f"{runs} holds no finished benchmark at {size} px: run `make bench-{size}` first")
    return max(found, key=lambda path: path.stat().st_mtime).parent


def write_measured(folders: Mapping[int, Path], path: Path = MEASURED) -> None:
    """Write the results of all sizes into one file."""
    results = {size: json.loads((folder / "results.json").read_text()) for size, folder in folders.items()}
    write_json(path, results)


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
    """Write `docs/measured.json`, and the pictures that its benchmark made: `methods.jpg` and `report.png`."""
    try:
        folders = {size: newest(size) for size in SIZES}
        write_measured(folders)
        sheet(folders[PICTURED]).save(IMAGES / "methods.jpg", quality=88)
        photograph(folders[PICTURED] / "report.html", IMAGES / "report.png")
    except UserError as error:
        print(f"docs.measured: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

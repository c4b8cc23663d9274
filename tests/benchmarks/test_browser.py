"""The report in a real browser: headless Chromium, from the file system."""

import time

import numpy as np
import pytest
from PIL import Image

from benchmarks.report import page, plot
from tests.benchmarks.test_bench_report import RESULTS

COLOURS = {"latent-bicubic": (255, 0, 0), "lua": (0, 0, 255)}


@pytest.fixture
def opened(driver, tmp_path):
    """The report of two methods, one all red and one all blue."""
    plot(RESULTS, "psnr").savefig(tmp_path / "plot.png")
    images = {}
    for name, colour in COLOURS.items():
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}.png")
        images[name] = [tmp_path / f"{name}.png"] * 2
    (tmp_path / "report.html").write_text(
        page({**RESULTS, "prompts": ["a lake", "a hill"]}, images, tmp_path / "plot.png")
    )
    driver.get(f"file://{tmp_path}/report.html")
    return driver


def left_share(driver, path):
    """Return the share of the stage's pixels that show the left image, as it is drawn on the screen."""
    time.sleep(0.3)
    driver.find_element("id", "stage").screenshot(str(path))
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return float((pixels[..., 0] > pixels[..., 2]).mean())


def set_value(driver, name, value):
    driver.execute_script(
        "const node = document.getElementById(arguments[0]); node.value = arguments[1];"
        "node.dispatchEvent(new Event('input'))", name, value,
    )  # fmt: skip


@pytest.mark.slow
def test_the_slider_shows_more_of_one_side(opened, tmp_path):
    shares = []
    for position in (10, 50, 90):
        set_value(opened, "split", position)
        shares.append(left_share(opened, tmp_path / "stage.png"))
    assert shares == pytest.approx([0.1, 0.5, 0.9], abs=0.02)
    set_value(opened, "left", "lua")  # blue on both sides
    assert left_share(opened, tmp_path / "stage.png") == 0


@pytest.mark.slow
def test_both_sides_zoom_together(opened):
    opened.execute_script(
        "const wheel = new WheelEvent('wheel', {deltaY: -1, clientX: 300, clientY: 300});"
        "document.getElementById('stage').dispatchEvent(wheel)"
    )
    styles = [opened.find_element("id", name).get_attribute("style") for name in ("above", "below")]
    assert "scale(1.25)" in styles[0]
    assert styles[0] == styles[1]
    opened.find_element("id", "reset").click()
    assert "scale(1)" in opened.find_element("id", "below").get_attribute("style")


@pytest.mark.slow
def test_a_click_sorts_the_table(opened):
    table = opened.find_element("id", "table-generation")
    head = next(cell for cell in table.find_elements("tag name", "th") if cell.text == "time, s")

    def first_column():
        return [row.find_element("tag name", "td").text for row in table.find_elements("css selector", "tbody tr")]

    assert first_column() == ["lua", "latent-bicubic"]
    head.click()
    assert first_column() == ["latent-bicubic", "lua"]
    head.click()
    assert first_column() == ["lua", "latent-bicubic"]


@pytest.mark.slow
def test_nothing_is_asked_of_a_network_and_nothing_fails(opened):
    asked = opened.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith("data:") for name in asked)
    assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert len(opened.find_elements("css selector", ".grid figure")) == 4
    assert len(opened.find_elements("css selector", ".bar")) == 2

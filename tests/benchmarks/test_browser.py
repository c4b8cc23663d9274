"""The report in a real browser: headless Chromium, from the file system."""

import copy
import time

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from benchmarks.finished import PHOTOGRAPH
from benchmarks.report import plot
from benchmarks.report_page import page
from tests.benchmarks.test_bench_report import RESULTS
from tests.benchmarks.test_fairness import FACTS

COLOURS = {"latent-bicubic": (255, 0, 0), "lua": (0, 0, 255)}
PROMPTS = ["a lake", "a hill"]


def three_methods():
    """Results with a third method, a reference point and an additional metric."""
    results = copy.deepcopy(RESULTS) | {"prompts": PROMPTS}
    for row in results["rows"][:2]:
        row["metrics"]["colour_shift"] = {"value": 1.5, "low": 1.0, "high": 2.0}
    third = copy.deepcopy(results["rows"][1]) | {"method": "swinir"}
    third["metrics"]["psnr"] = {"value": 30.0, "low": 29.0, "high": 31.0}
    ceiling = copy.deepcopy(third) | {"method": "ceiling", "rival": False}
    results["rows"][2:2] = [third, ceiling]
    results["fairness"] = FACTS
    results["rows"][-1]["device"] = "RTX <4090>"
    results["pairs"] = {
        "lua": {"latent-bicubic": {"psnr": {"value": 6.0, "low": 5.0, "high": 7.0}},
                "swinir": {"psnr": {"value": 2.0, "low": -1.0, "high": 5.0}}},
        "latent-bicubic": {"swinir": {"psnr": {"value": -4.0, "low": -5.0, "high": -3.0}}},
    }  # fmt: skip
    return results


@pytest.fixture
def opened(driver, tmp_path):
    """The report of two methods, one all red and one all blue, and of a crop that is green in the photograph."""
    plot(RESULTS, "psnr").savefig(tmp_path / "plot.png")
    images = {}
    for name, colour in (COLOURS | {PHOTOGRAPH: (0, 255, 0)}).items():
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}.png")
        images[name] = [tmp_path / f"{name}.png"] * 2
    shown = {name: images[name] for name in COLOURS}
    text = page(three_methods(), shown, tmp_path / "plot.png", {name: files[:1] for name, files in images.items()})
    (tmp_path / "report.html").write_text(text)
    driver.set_window_size(1200, 2400)
    driver.get(f"file://{tmp_path}/report.html")
    return driver


def rows_of(driver, table):
    return [
        [cell.text for cell in line.find_elements("tag name", "td")]
        for line in driver.find_elements("css selector", f"#{table} tbody tr")
    ]


def keys(driver, *pressed):
    driver.find_element("id", "stage").click()
    ActionChains(driver).send_keys(*pressed).perform()


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
def test_a_head_sorts_the_table_by_mouse_and_by_keyboard(opened):
    def head():
        heads = opened.find_elements("css selector", "#table-generation th button")
        return next(button for button in heads if button.text == "time, s")

    def first_column():
        return [row[0] for row in rows_of(opened, "table-generation")]

    assert first_column() == ["lua", "latent-bicubic"]
    head().click()
    assert first_column() == ["latent-bicubic", "lua"]
    head().send_keys(Keys.ENTER)
    assert first_column() == ["lua", "latent-bicubic"]


@pytest.mark.slow
def test_the_filter_thins_out_tables_bars_and_grids(opened):
    assert len(rows_of(opened, "table-reconstruction")) == 4
    opened.find_element("id", "rivals").click()
    assert [row[0] for row in rows_of(opened, "table-reconstruction")] == ["lua", "latent-bicubic", "swinir"]
    opened.find_element("id", "filter").send_keys("swin, LUA")
    assert [row[0] for row in rows_of(opened, "table-reconstruction")] == ["lua", "swinir"]
    assert len(opened.find_elements("css selector", ".bar")) == 1
    assert [node.text for node in opened.find_elements("css selector", ".grid figcaption")] == ["lua", "lua"]
    assert opened.find_element("id", "count").text == "3 of 6 rows"


@pytest.mark.slow
def test_additional_metrics_are_shown_when_asked_for(opened):
    assert len(rows_of(opened, "table-reconstruction")[0]) == 3
    opened.find_element("id", "additional").click()
    assert rows_of(opened, "table-reconstruction")[0][3] == "1.50 [1.00, 2.00]"


@pytest.mark.slow
def test_differences_of_any_two_methods_are_paired(opened):
    assert rows_of(opened, "table-paired") == [
        ["latent-bicubic", "+6.000 [+5.000, +7.000] better"], ["swinir", "+2.000 [-1.000, +5.000] unclear"],
    ]  # fmt: skip
    set_value(opened, "one", "swinir")
    assert rows_of(opened, "table-paired") == [
        ["lua", "-2.000 [-5.000, +1.000] unclear"], ["latent-bicubic", "+4.000 [+3.000, +5.000] better"],
    ]  # fmt: skip


@pytest.mark.slow
def test_the_stage_follows_the_keyboard(opened, tmp_path):
    keys(opened, "]", "]")
    assert opened.find_element("id", "split").get_attribute("value") == "60"
    keys(opened, "+", "+", Keys.ARROW_LEFT)
    assert "scale(1.5625)" in opened.find_element("id", "above").get_attribute("style")
    keys(opened, "0")
    assert "scale(1)" in opened.find_element("id", "below").get_attribute("style")
    keys(opened, "p")  # from the first prompt back to the last image, the crop of a photograph
    assert opened.find_element("id", "scene").get_attribute("value") == "2"
    set_value(opened, "left", PHOTOGRAPH)
    opened.find_element("id", "stage").screenshot(str(tmp_path / "stage.png"))
    assert Image.open(tmp_path / "stage.png").convert("RGB").getpixel((100, 100)) == pytest.approx((0, 255, 0), abs=6)
    keys(opened, "n")
    assert "no image here" in opened.find_element("id", "name-left").text


@pytest.mark.slow
def test_two_fingers_zoom_and_one_scrolls_past(opened):
    stage = opened.find_element("id", "stage")
    assert "pan-y" in stage.get_attribute("style")
    opened.execute_script(
        "const stage = document.getElementById('stage'), box = stage.getBoundingClientRect();"
        "const send = (type, pointerId, x, y) => stage.dispatchEvent(new PointerEvent(type,"
        "  {pointerId, clientX: box.left + x, clientY: box.top + y}));"
        "send('pointerdown', 1, 100, 100); send('pointerdown', 2, 200, 100); send('pointermove', 2, 300, 100);"
    )
    assert "scale(2)" in opened.find_element("id", "above").get_attribute("style")
    assert "none" in stage.get_attribute("style")


@pytest.mark.slow
def test_a_phone_scrolls_in_one_direction_and_the_dark_is_dark(opened):
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    opened.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    try:
        opened.refresh()
        assert opened.execute_script("return document.documentElement.scrollWidth") <= 390
        assert opened.execute_script("return document.getElementById('stage').clientWidth") > 350
        colour = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert max(map(int, colour[4:-1].split(","))) < 60
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.slow
def test_print_leaves_out_what_paper_cannot_do(opened):
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not opened.find_element("id", "filter").is_displayed()
        assert opened.find_element("id", "table-generation").is_displayed()
        colour = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert colour == "rgb(255, 255, 255)"
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.slow
def test_nothing_is_asked_of_a_network_and_nothing_fails(opened):
    asked = opened.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith("data:") for name in asked)
    assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert len(opened.find_elements("css selector", ".grid figure")) == 4
    assert len(opened.find_elements("css selector", ".bar")) == 2
    audit = dict(rows_of(opened, "fairness"))
    assert audit["start"] == "the same latents of 256 px: lua; sampled anew from the prompt: direct"
    assert [node.text for node in opened.find_elements("css selector", ".bar b")][1] == "latent-bicubic (RTX <4090>)"
    assert [row[-1] for row in rows_of(opened, "table-generation")] == ["CPU", "RTX <4090>"]
    missing = [node.text for node in opened.find_elements("css selector", "#missing li")]
    assert missing == ["hidiffusion: another UNet is needed", "FID (Inception): no weights </script>"]

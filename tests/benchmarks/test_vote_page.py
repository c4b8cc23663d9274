"""The page of a blind vote in headless Chromium, with simulated voters whose preferences are known."""

import json
import time

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from benchmarks.ballot import ballot, choose_pairs, page
from benchmarks.finished import images_of, read_results
from benchmarks.votes import summary
from tests.benchmarks.finished_run import COLOURS, finished

BEST_FIRST = ["lua", "swinir", "latent-bicubic"]
PROMPTS = ["a <b>lake</b> & </script><img src=x onerror=alert(1)>", "a hill", "a wood"]

# Ends with the colour in the middle of a stage's image, as it is drawn, or with nothing while it loads.
COLOUR = """
const image = document.querySelector("#" + arguments[0] + " img");
if (!ready || !image.naturalWidth) return null;
const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
[canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
context.drawImage(image, 0, 0);
return Array.from(context.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data.slice(0, 3));
"""


@pytest.fixture
def voting(driver, tmp_path):
    """The page of three methods of one colour each, on three prompts; nobody has voted yet."""
    run = finished(tmp_path / "run", PROMPTS)
    results = read_results(run)
    pairs = choose_pairs(list(COLOURS), len(PROMPTS), 0, 0, seed=0)
    path = tmp_path / "vote.html"
    path.write_text(page(ballot(results, images_of(run, results), pairs)))
    driver.get(f"file://{path}")
    driver.execute_script("localStorage.clear()")
    driver.refresh()
    return driver


def method_shown(driver, side):
    """Return which method a person sees on one side, by its colour."""
    for _ in range(100):
        colour = driver.execute_script(COLOUR, side)
        if colour:
            return min(COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(COLOURS[name], colour, strict=True)))
        time.sleep(0.05)
    raise AssertionError("no image was shown")


def press(driver, *keys):
    for key in keys:
        ActionChains(driver).send_keys(key).perform()


def count(driver):
    return driver.find_element("id", "count").text


def exported(driver, name):
    """Export the votes and return the file that the browser saved."""
    driver.find_element("id", "export").click()
    path = driver.downloads / f"votes-{name}.json"
    for _ in range(100):
        if path.is_file():
            return path
        time.sleep(0.05)
    raise AssertionError("nothing was saved")


@pytest.mark.slow
def test_simulated_voters_recover_the_known_order(voting):
    files = []
    for name in ("Ada", "Bob"):
        voting.find_element("id", "voter").send_keys(name)
        voting.execute_script("document.activeElement.blur()")
        for number in range(9):
            assert count(voting) == f"{number} of 9"
            left, right = (BEST_FIRST.index(method_shown(voting, side)) for side in ("left", "right"))
            assert left != right
            press(voting, Keys.ARROW_LEFT if left < right else Keys.ARROW_RIGHT)
        assert voting.find_element("id", "done").is_displayed()
        files.append(exported(voting, name))
        voting.execute_script("localStorage.clear()")
        voting.refresh()
    found = summary(files)
    assert sorted(found["scores"], key=lambda name: -found["scores"][name]["preference"]["value"]) == BEST_FIRST
    assert [found["scores"][name]["win_rate"]["value"] for name in BEST_FIRST] == [1.0, 0.5, 0.0]
    assert found["agreement"] == {"pairs": 9, "same": 1.0, "alpha": 1.0}
    assert [entry["voter"] for entry in found["voters"]] == ["Ada", "Bob"]


@pytest.mark.slow
def test_a_closed_page_goes_on_where_it_was_and_a_vote_can_be_undone(voting):
    for key in (Keys.ARROW_LEFT, Keys.ARROW_DOWN):
        method_shown(voting, "left")
        press(voting, key)
    shown = [method_shown(voting, side) for side in ("left", "right")]
    voting.refresh()
    assert count(voting) == "2 of 9"
    assert [method_shown(voting, side) for side in ("left", "right")] == shown
    press(voting, Keys.BACKSPACE)
    assert count(voting) == "1 of 9"
    content = json.loads(exported(voting, voting.execute_script("return state.mark")).read_text())
    assert [vote["choice"] for vote in content["votes"]] == ["left"]


@pytest.mark.slow
def test_both_sides_zoom_together_by_wheel_and_by_key(voting):
    method_shown(voting, "left")

    def transforms():
        return {voting.execute_script(f"return document.querySelector('#{side} img').style.transform")
                for side in ("left", "right")}  # fmt: skip

    press(voting, "+")
    (zoomed,) = transforms()
    assert "scale(1.25)" in zoomed
    voting.execute_script(
        "const wheel = new WheelEvent('wheel', {deltaY: -1, clientX: 900, clientY: 200});"
        "document.getElementById('right').dispatchEvent(wheel)"
    )
    (zoomed,) = transforms()
    assert "scale(1.5625)" in zoomed
    press(voting, "0")
    (whole,) = transforms()
    assert "scale(1)" in whole


@pytest.mark.slow
def test_every_text_is_text_no_name_is_shown_and_nothing_is_asked_of_a_network(voting):
    seen = set()
    for _ in range(9):
        method_shown(voting, "left")
        seen.add(voting.find_element("id", "prompt").text)
        text = voting.find_element("tag name", "body").get_attribute("innerText")
        assert not any(name in text for name in COLOURS)
        assert voting.execute_script("return document.querySelectorAll('img').length") == 2
        press(voting, Keys.ARROW_DOWN)
    assert seen == set(PROMPTS)
    asked = voting.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith("data:") for name in asked)
    assert [entry for entry in voting.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.slow
def test_two_people_see_the_pairs_in_different_orders(voting):
    orders = set()
    for _ in range(4):
        orders.add(tuple(voting.execute_script("return state.order.concat(state.swapped.map(Number))")))
        voting.execute_script("localStorage.clear()")
        voting.refresh()
    assert len(orders) == 4

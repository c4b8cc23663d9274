"""The demo page: it launches on this machine alone, and its function answers; in a browser too (slow)."""

import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from lua_lightning.cli import main
from lua_lightning.demo import enlarge, page
from lua_lightning.errors import UserError
from lua_lightning.upscaling import upscale_image

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_its_function_gives_both_enlargements():
    (bicubic, ours), facts = enlarge(Image.fromarray(PIXELS), "lua-tiny-d16", 1.5, "cpu")
    assert bicubic == Image.fromarray(PIXELS).resize((96, 60), Image.Resampling.BICUBIC)
    assert ours == upscale_image(PIXELS, 1.5, adapter="lua-tiny-d16", device="cpu")
    assert facts.startswith("64x40 -> 96x60; tiny-d16 alone keeps")
    with pytest.raises(UserError, match="no picture"):
        enlarge(None, "lua-tiny-d16", 2, "cpu")


def test_the_page_answers_over_http_on_this_machine_alone(tmp_path):
    from gradio_client import Client, handle_file

    Image.fromarray(PIXELS).save(tmp_path / "picture.png")
    blocks, port = page(["lua-tiny-d16"], "cpu"), free_port()
    _, address, share = blocks.launch(
        server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, share=False
    )
    try:
        assert (address, share) == (f"http://127.0.0.1:{port}/", None)
        client = Client(address, verbose=False)
        images, facts = client.predict(handle_file(tmp_path / "picture.png"), "lua-tiny-d16", 2, api_name="/enlarge")
        assert "64x40 -> 128x80" in facts
        assert [Image.open(image).size for image in images] == [(128, 80)] * 2
        with pytest.raises(Exception, match="lua-tyny"):
            client.predict(handle_file(tmp_path / "picture.png"), "lua-tyny", 2, api_name="/enlarge")
    finally:
        blocks.close()


def test_a_port_that_is_taken_or_wrong_is_told(capsys):
    assert main(["demo", "--port", "0"]) == 2
    assert "--port 0" in capsys.readouterr().err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["demo", "--port", str(port)]) == 2
    assert f"port {port} is taken" in capsys.readouterr().err


def test_without_gradio_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo"]) == 2
    assert "pip install 'lua-lightning[demo]'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_browser_enlarges_a_picture(tmp_path):
    browser, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By

    Image.fromarray(PIXELS).save(tmp_path / "picture.png")
    port = free_port()
    command = [sys.executable, "-m", "lua_lightning", "demo", "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    try:
        assert server.stdout is not None
        assert f"http://127.0.0.1:{port}" in server.stdout.readline()
        page = webdriver.Chrome(options=options, service=Service(driver))
        try:
            page.get(f"http://127.0.0.1:{port}")
            wait_for(lambda: page.find_elements(By.CSS_SELECTOR, "input[type=file]"))[0].send_keys(
                str(tmp_path / "picture.png")
            )
            wait_for(lambda: page.find_elements(By.CSS_SELECTOR, "img[src*='picture']"))
            next(one for one in page.find_elements(By.TAG_NAME, "button") if one.text == "Enlarge").click()
            wait_for(
                lambda: (
                    "64x40 -> 128x80"
                    in str([box.get_property("value") for box in page.find_elements(By.TAG_NAME, "textarea")])
                )
            )
        finally:
            page.quit()
    finally:
        server.terminate()
        server.wait(30)


def wait_for(found, seconds: float = 60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.3)
    raise AssertionError("the page did not get there in time")

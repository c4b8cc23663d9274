import json
import subprocess
import sys
import time

import pytest

from lua_lightning.errors import UserError
from lua_lightning.generators import catalogue
from lua_lightning.generators.catalogue import GENERATORS, find_generator


def test_a_generator_out_of_reach_is_told_within_five_seconds(monkeypatch):
    """The whole command, interpreter start included."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.perf_counter()
    command = [sys.executable, "-m", "lua_lightning.cli", "generate", "a lake", "generator=sdxl", "--size", "1024"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert time.perf_counter() - started < 5
    assert done.returncode == 2
    assert "stabilityai/stable-diffusion-xl-base-1.0, about 7 GB" in done.stderr
    assert "local folder" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_name_that_hangs_does_not(monkeypatch):
    def hang(*_, **__):
        time.sleep(3)
        raise OSError

    monkeypatch.setattr(catalogue.socket, "create_connection", hang)
    started = time.perf_counter()
    assert not catalogue.hub_answers(seconds=0.2)
    assert time.perf_counter() - started < 2


def test_what_is_in_the_hubs_cache_needs_no_hub(monkeypatch):
    monkeypatch.setattr(catalogue, "in_hub_cache", lambda repo: True)
    monkeypatch.setattr(catalogue, "hub_answers", lambda: pytest.fail("asked the hub"))
    assert find_generator("sdxl") is GENERATORS["sdxl"]


@pytest.mark.parametrize(
    ("index", "match"),
    [
        (None, "no readable model_index.json"),
        ({"_class_name": ["mine", "Mine"]}, "names no class of pipelines"),
        ({"_class_name": "FluxFillPipeline"}, "does not make images of a prompt alone"),
    ],
)
def test_a_folder_that_is_no_generator_is_refused(index, match, tmp_path):
    if index:
        (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=match):
        find_generator(str(tmp_path))


def test_a_folder_takes_the_settings_of_its_class(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    facts = find_generator(str(tmp_path))
    assert (facts.steps, facts.guidance_scale, facts.source) == (12, 4.5, str(tmp_path))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="did you mean 'flux'"):
        find_generator("flux3")


def test_a_size_off_the_ladder_names_the_sizes():
    with pytest.raises(UserError, match="512, 1024, 2048, 4096"):
        GENERATORS["tiny-sdxl"].base_size(700)

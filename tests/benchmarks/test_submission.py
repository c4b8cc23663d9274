"""The checker of submissions: what the benchmark writes passes, and each kind of fault is named."""

import copy
import json

import pytest

from benchmarks.protocol import VERSION
from benchmarks.submission import main, problems


def interval(value, width=1.0):
    return {"value": value, "low": value - width, "high": value + width}


def row(method, track, metrics, **more):
    return {"method": method, "track": track, "size": 512, "n": 2, "metrics": metrics, **more}


GOOD = {
    "protocol": VERSION,
    "commit": "0123456789" * 4,
    "dirty": False,
    "device": "NVIDIA H100",
    "generator": "tiny-sdxl",
    "photos_sha256": "ab" * 32,
    "size": 512,
    "base_size": 256,
    "prompts": ["a lake", "a hill"],
    "config": {"steps": 10, "prompts": 2, "crops_per_photo": 2, "adapter": "lua-tiny-d16"},
    "rows": [
        row("latent-bicubic", "reconstruction", {"psnr": interval(26.0), "ssim": {"unavailable": "x"}}),
        row("lua", "reconstruction", {"psnr": interval(29.0), "recovery": interval(0.75)}),
        row("ceiling", "reconstruction", {"psnr": interval(30.0), "recovery": interval(1.0)}),
        row(
            "lua",
            "generation",
            {"kid/effnet-lite0": interval(0.01), "fid/effnet-lite0": {"value": 250.0, "note": "few"}},
            seconds={"generate": 1.0, "upscale": 0.2, "decode": 0.3, "total": 1.5},
            seconds_spread={"low": 1.4, "high": 1.7},
            peak_memory_mib=800.5,
        ),
    ],
}  # fmt: skip


def changed(path, value):
    """Return the good results with one value replaced, or removed where the value is None."""
    results = copy.deepcopy(GOOD)
    place = results
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return results


def test_what_the_benchmark_writes_passes():
    assert problems(GOOD) == []


LUA, TIMED = ("rows", 1), ("rows", 3)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("protocol",), "0", "protocol is '0', and the leaderboard takes"),
        (("device",), None, "device is missing"),
        (("device",), "", "device is missing"),
        (("photos_sha256",), None, "photos_sha256 is missing"),
        (("commit",), "main", "commit 'main' is no commit"),
        (("dirty",), True, "the checkout had changed files"),
        (("size",), True, "size is missing or no int"),
        (("base_size",), 300, "size 512 is no multiple of base_size 300"),
        (("rows",), [], "rows and prompts must be lists"),
        (("rows", 0), 3, "row 1 is no object"),
        ((*LUA, "method"), "lua | x", "the method needs a name"),
        ((*LUA, "method"), "ceiling", "the row is there twice"),
        ((*LUA, "track"), "speed", "track must be one of"),
        ((*LUA, "size"), 1024, "size 1024 is not the benchmark's 512"),
        ((*LUA, "n"), 0, "n, the number of images"),
        ((*TIMED, "n"), 5, "n is 5, and there are 2 prompts"),
        ((*LUA, "metrics"), {}, "it has no metrics"),
        ((*LUA, "metrics", "psrn"), interval(3.0), "unknown metric 'psrn'"),
        ((*LUA, "metrics", "psnr"), {}, "psnr has neither a value nor a reason"),
        ((*LUA, "metrics", "psnr", "value"), float("nan"), "psnr: value is no finite number"),
        ((*LUA, "metrics", "psnr", "low"), "28", "psnr: low is no finite number"),
        ((*LUA, "metrics", "psnr", "low"), None, "psnr lacks its interval"),
        ((*LUA, "metrics", "psnr"), {"value": 29.0}, "psnr lacks its interval"),
        ((*LUA, "metrics", "psnr", "low"), 31.0, "psnr: low 31.0 is above high 30.0"),
        ((*LUA, "metrics", "psnr", "high"), 28.5, "psnr: 29.0 is outside of its interval"),
        ((*LUA, "metrics", "ssim"), interval(1.2), "ssim is 1.2, which is outside of -1 to 1"),
        ((*LUA, "metrics", "lpips/alex"), interval(-0.1), "lpips/alex is -0.1"),
        ((*TIMED, "metrics", "fid/effnet-lite0", "value"), -1.0, "fid/effnet-lite0 is -1.0"),
        ((*LUA, "metrics", "recovery"), interval(0.95), "recovery of lua is 0.95, and its psnr says 0.7500"),
        ((*LUA, "metrics", "psnr"), interval(29.9), "recovery of lua is 0.75, and its psnr says 0.9750"),
        (("rows", 2, "method"), "other", "lacks the psnr of ceiling"),
        ((*TIMED, "seconds", "total"), None, "seconds must be numbers by phase, with a total"),
        ((*TIMED, "seconds", "upscale"), -0.2, "seconds must not be negative"),
        ((*TIMED, "seconds", "upscale"), 4.0, "no phase may exceed the total"),
        ((*TIMED, "seconds_spread"), None, "seconds_spread, with low and high, is missing"),
        ((*TIMED, "seconds_spread", "low"), 1.6, "the total of 1.5 s is outside of its spread"),
        ((*TIMED, "peak_memory_mib"), None, "peak_memory_mib must be a number above 0"),
    ],
)  # fmt: skip
def test_each_fault_is_named(path, value, said):
    found = problems(changed(path, value))
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize("content", [[], "text", None, {}, {"rows": {}}, {"rows": [None], "prompts": []}])
def test_anything_at_all_is_answered_with_problems(content):
    assert problems(content)


def test_the_command_lists_all_problems_and_says_which_file(tmp_path, capsys):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(GOOD))
    bad.write_text(json.dumps(changed(("device",), None) | {"protocol": "0"}))
    assert main([str(good)]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 4
    assert main([str(good), str(bad)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{bad}: ") for line in lines)
    assert main([str(tmp_path / "nowhere.json")]) == 2

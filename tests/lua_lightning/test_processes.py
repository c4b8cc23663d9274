"""Processes that work together, one of which is killed or stopped."""

import signal
import subprocess
import sys
import time

import pytest

WORK = """
import sys, time
from pathlib import Path
from lua_lightning import processes
processes.BEAT_SECONDS, processes.SILENCE_SECONDS = 0.1, 1.5
with processes.together(Path(sys.argv[1]), 2, lambda: print("last words", flush=True)):
    print("works", flush=True)
    time.sleep(float(sys.argv[2]))
print("done", flush=True)
"""


def start(folder, seconds):
    command = [sys.executable, "-c", WORK, str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("harm", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_killed_or_hangs_ends_the_others_with_a_sentence(tmp_path, harm):
    one, other = start(tmp_path, 60), start(tmp_path, 60)
    try:
        assert [process.stdout.readline() for process in (one, other)] == ["works\n"] * 2
        time.sleep(0.6)
        other.send_signal(harm)
        out, said = one.communicate(timeout=30)
        assert one.returncode == 1
        assert out == "last words\n"
        assert f"-{other.pid} was killed or hangs: nothing was heard of it for 2 seconds" in said
    finally:
        for process in (one, other):
            process.kill()
            process.wait()


def test_one_that_ends_in_order_is_not_missed(tmp_path):
    short, long = start(tmp_path, 0.5), start(tmp_path, 4)
    assert "done" in short.communicate(timeout=30)[0]
    out, said = long.communicate(timeout=30)
    assert (long.returncode, out, said) == (0, "works\ndone\n", "")
    assert not list(tmp_path.iterdir())

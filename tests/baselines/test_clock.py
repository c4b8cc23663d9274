import subprocess
import sys
import time

import pytest

from baselines.clock import Clock


def test_phases_add_up_and_are_apart():
    clock = Clock()
    for _ in range(2):
        with clock.phase("upscale"):
            time.sleep(0.05)
    with clock.phase("decode"):
        pass
    assert 0.1 <= clock.seconds["upscale"] < 0.5
    assert clock.seconds["decode"] < 0.05
    with pytest.raises(ValueError, match="unknown phase"), clock.phase("rest"):
        pass


PEAKS = """
import sys, time, torch
from baselines import clock as clocks
if sys.argv[1] == "sampled":
    clocks._forget_peak = lambda: False
clock = clocks.Clock()
with clock.phase("generate"):
    large = torch.ones(64 * 2**20)  # 256 MiB
    time.sleep(0.05)
    del large
with clock.phase("decode"):
    time.sleep(0.05)
print(clock.peak_mib["generate"] - clock.peak_mib["decode"])
"""


@pytest.mark.parametrize("way", ["as here", "sampled"])
def test_the_peak_of_a_phase_is_seen_after_it_is_freed(way):
    """In a process of its own: one that has freed much already takes the memory from there."""
    done = subprocess.run([sys.executable, "-c", PEAKS, way], capture_output=True, text=True, check=True)
    assert 240 < float(done.stdout) < 300

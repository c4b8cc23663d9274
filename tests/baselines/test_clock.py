import time

import pytest
import torch

from baselines import clock as clocks
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


@pytest.mark.parametrize("way", ["as here", "sampled"])
def test_the_peak_of_a_phase_is_seen_after_it_is_freed(way, monkeypatch):
    if way == "sampled":
        monkeypatch.setattr(clocks, "_forget_peak", lambda: False)
    clock = Clock()
    with clock.phase("generate"):
        large = torch.ones(64 * 2**20)  # 256 MiB
        time.sleep(0.05)
        del large
    with clock.phase("decode"):
        time.sleep(0.05)
    assert 240 < clock.peak_mib["generate"] - clock.peak_mib["decode"] < 300

"""The first process waits for the others without a time-out, and not for those of an earlier start."""

import threading
import time

from benchmarks import shares as module
from benchmarks.shares import Shares


def test_the_first_process_waits_until_the_last_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.01)
    for process in range(3):
        Shares(tmp_path).done(process)  # of an earlier start
    Shares(tmp_path).clear()
    Shares(tmp_path).done(0)
    Shares(tmp_path).done(2)
    ended = []
    waiting = threading.Thread(target=lambda: ended.append(Shares(tmp_path).wait(3)), daemon=True)
    waiting.start()
    time.sleep(0.2)
    assert not ended
    Shares(tmp_path).done(1)
    waiting.join(10)
    assert ended

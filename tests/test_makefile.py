"""The Makefile's own words, where a target does more than to call a program."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("host", ["127.0.0.1", ""], ids=["this machine's", "every address's"])
def test_the_mlflow_ui_says_that_its_port_is_taken_and_gives_no_address(host):
    with socket.create_server((host, 0)) as server:
        port = server.getsockname()[1]
        words = ["make", "--old-file=setup", "mlflow-ui", f"PORT={port}", f"BIN={Path(sys.executable).parent}"]
        # As a user's shell has it: inside `make test` another make would say which folders it enters.
        shell = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        made = subprocess.run(words, cwd=ROOT, env=shell, capture_output=True, text=True, timeout=60)
    assert made.returncode != 0
    assert made.stdout == ""
    said = f"port {port} is not free: choose another, such as make mlflow-ui PORT=5001"
    assert made.stderr.splitlines()[0] == said

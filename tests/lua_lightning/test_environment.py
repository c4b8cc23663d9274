"""What a run says about the machine and the checkout."""

import json
import socket
import subprocess
from pathlib import Path

from lua_lightning.environment import run_info


class TestRunInfo:
    def test_names_the_commit_and_whether_files_differ(self, tmp_path):
        git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
        assert run_info(tmp_path)["commit"] is None
        subprocess.run([*git, "init", "-q"], check=True)
        assert run_info(tmp_path)["commit"] is None
        (tmp_path / "a.txt").write_text("1")
        subprocess.run([*git, "add", "a.txt"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
        info = run_info(tmp_path)
        assert len(info["commit"]) == 40
        assert info["dirty"] is False
        (tmp_path / "a.txt").write_text("2")
        assert run_info(tmp_path)["dirty"] is True

    def test_says_nothing_about_whose_machine_it_is(self):
        text = json.dumps(run_info())
        assert socket.gethostname() not in text
        assert str(Path.home()) not in text

"""Ctrl-C and SIGTERM while a program still imports: one line and 130 or 143, as later."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Sends a signal to its own process where the first module is looked for after a given one.
AT_IMPORT = """
import os, signal, sys

class Signal:
    begun = False

    def find_spec(self, name, path=None, target=None):
        if self.begun:
            sys.meta_path.remove(self)
            signal.raise_signal(int(os.environ["SIGNAL"]))
        self.begun = name == os.environ["AFTER"]

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
sys.meta_path.insert(0, Signal())
"""
SIGNALS = [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]


def programs() -> list[str]:
    """Return what can be started by `python -m`, as the code says."""
    paths = [path for room in ("lua_lightning", "benchmarks", "data", "docs") for path in (ROOT / room).rglob("*.py")]
    mains = [path for path in paths if '__name__ == "__main__"' in path.read_text()]
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in mains)


def run(words, after, number, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(AT_IMPORT)
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "SIGNAL": str(int(number)), "AFTER": after}
    return subprocess.run(
        [sys.executable, *words], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("module", programs())
@pytest.mark.parametrize(("number", "said"), SIGNALS)
def test_a_program_that_still_imports_ends_in_one_line(module, number, said, tmp_path):
    program = f"python -m {module.removesuffix('.__main__')}"
    ended = run(program.split()[1:], module, number, tmp_path)
    assert (ended.stderr, ended.returncode) == (f"{program}: {said}\n", 128 + number)


@pytest.mark.parametrize(("number", "said"), SIGNALS)
def test_so_does_the_installed_command(number, said, tmp_path):
    script = tmp_path / "lua-lightning"
    script.write_text("import sys\nfrom lua_lightning.cli import main\nsys.exit(main())\n")
    ended = run([str(script)], "lua_lightning.cli", number, tmp_path)
    assert (ended.stderr, ended.returncode) == (f"lua-lightning: {said}\n", 128 + number)


@pytest.mark.parametrize("words", [["-um", "data"], ["-mdata"], ["-X", "dev", "-m", "data", "-m"]], ids=" ".join)
def test_python_takes_the_module_in_several_spellings(words, tmp_path):
    ended = run(words, "data.__main__", signal.SIGINT, tmp_path)
    assert (ended.stderr.splitlines()[-1], ended.returncode) == ("python -m data: interrupted", 130)


def test_another_program_that_imports_the_packages_keeps_its_own_ways(tmp_path):
    code = "import signal, lua_lightning.cli, benchmarks, data\n"
    code += "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.getsignal(signal.SIGTERM))"
    ended = run(["-c", code], "nothing", signal.SIGINT, tmp_path)
    assert ended.stdout == "True 0\n", ended.stderr

"""How commands end when something ends them: each kind of end, from inside and in a real process."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from lua_lightning.commands.command import Command, CommandLine
from lua_lightning.commands.guard import guarded
from lua_lightning.errors import UserError


def raising(error):
    def work():
        raise error

    return work


FULL = OSError(errno.ENOSPC, "No space left on device", "/disk/out.png")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("x=1 is wrong"), 2, "easel: x=1 is wrong"),
        (KeyboardInterrupt(), 130, "easel: interrupted"),
        (KeyboardInterrupt("`easel --resume` goes on"), 130, "easel: interrupted: `easel --resume` goes on"),
        (FULL, 1, "easel: /disk/out.png: No space left on device: free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "/etc/x"), 1, "easel: /etc/x: Permission denied"),
        (OSError("broken data stream"), 1, "easel: broken data stream"),
        (MemoryError(), 1, "easel: there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 TB"), 1, "easel: there is not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 1 TB"), 1, "easel: there is not enough memory"),
    ],
)
def test_each_end_is_one_line_and_its_status(error, status, said, capsys):
    assert guarded("easel", raising(error)) == status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(said)


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="shapes"):
        guarded("easel", raising(RuntimeError("shapes do not match")))
    with pytest.raises(KeyError):
        guarded("easel", raising(KeyError("x")))


def test_the_status_of_the_work_is_kept():
    assert guarded("easel", lambda: 3) == 3
    assert guarded("easel", lambda: None) == 0


def test_a_command_and_a_table_of_commands_are_guarded(capsys):
    command = Command("full", "Fill.", "easel full", lambda parser: None, lambda options: raising(FULL)())
    assert CommandLine("easel", "Paint.", "easel full", [command]).main(["full"]) == 1
    assert "No space left" in capsys.readouterr().err


PROGRAM = """
    import signal, sys, time
    from lua_lightning.commands.guard import guarded

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it runs in the background

    def work():
        for number in range(100_000):
            print("line", number, {name!r})
            if {waits}:
                print("ready", flush=True)
                time.sleep(30)

    sys.exit(guarded("easel", work))
"""


def start(waits: bool, name: str = "", **settings) -> subprocess.Popen:
    script = textwrap.dedent(PROGRAM).format(waits=waits, name=name)
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
    )


def test_a_reader_that_leaves_ends_the_program_quietly():
    process = start(waits=False)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 141


def test_ctrl_c_is_one_line_and_130():
    process = start(waits=True)
    assert process.stdout is not None
    while "ready" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert said == "easel: interrupted\n"
    assert process.returncode == 130


# Places where Python, or a library, drops the exception that a signal's handler raises.
LOST = {
    "an import that takes it for a missing module": """
        try:
            import optional
        except BaseException as error:
            assert False, repr(error)
    """,
    "a destructor": """
        class Loader:
            def __del__(self):
                signal.raise_signal({number})
        Loader()
    """,
}
LOSING = """
    import signal, sys, time
    from lua_lightning.commands.guard import guarded

    signal.signal(signal.SIGINT, signal.default_int_handler)

    def work():
{place}
        time.sleep(30)

    sys.exit(guarded("easel", work))
"""


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
@pytest.mark.parametrize("place", LOST)
def test_a_signal_is_never_lost(place, number, said, tmp_path):
    (tmp_path / "optional.py").write_text(f"import signal\nsignal.raise_signal({number:d})\n")
    inside = textwrap.indent(textwrap.dedent(LOST[place].format(number=int(number))), 8 * " ")
    script = textwrap.dedent(LOSING.format(place=inside))
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {"env": {**os.environ, "PYTHONPATH": path}, "capture_output": True, "text": True, "timeout": 60}
    ended = subprocess.run([sys.executable, "-c", script], **settings)
    assert (ended.stderr, ended.returncode) == (f"easel: {said}\n", 128 + number)


def test_a_file_name_that_is_no_text_is_printed(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    process = start(False, name, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"})
    out, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    assert "caf\\udce9.png" in out

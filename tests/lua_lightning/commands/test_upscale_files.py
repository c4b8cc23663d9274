"""A folder is read, computed and written at the same time, within the memory there is."""

import signal
import threading

import numpy as np
import pytest
from PIL import Image

from lua_lightning.commands import upscale_files as files
from lua_lightning.commands.upscale_files import FolderUpscaler, Job
from lua_lightning.errors import UserError
from lua_lightning.signals import Stopped, terminable
from lua_lightning.sizes import Plan, target

SECONDS = 20  # after which something that was to happen at the same time has not


class Way:
    """Enlarges by repeating pixels, and does `at_work` meanwhile."""

    needed = 100

    def __init__(self, at_work=lambda: None):
        self.at_work = at_work

    def plan(self, width, height, wanted, what=""):
        size = (2 * width, 2 * height)
        return Plan(2, size, size, size)

    def memory_needed(self, width, height, plan):
        return self.needed

    def enlarge(self, picture, plan):
        self.at_work()
        return Image.fromarray(picture.pixels).resize(plan.size, Image.Resampling.NEAREST), ""


@pytest.fixture
def work(tmp_path):
    jobs = [Job(tmp_path / f"{name}.png", tmp_path / "out" / f"{name}.png") for name in "abc"]
    for value, job in enumerate(jobs):
        Image.new("RGB", (6, 4), (value, 0, 0)).save(job.source)
    return jobs


@pytest.fixture
def order(monkeypatch):
    """What was begun and ended, in order."""
    noted = []

    def noting(name):
        real = getattr(files, name)

        def step(*arguments):
            job = next(argument for argument in arguments if isinstance(argument, Job))
            noted.append(f"{name} {job.source.stem}")
            result = real(*arguments)
            noted.append(f"{job.source.stem} {name}")
            return result

        monkeypatch.setattr(files, name, step)

    for name in ("read", "enlarge", "write"):
        noting(name)
    return noted


def run(way, work, overwrite=False):
    return FolderUpscaler(way, target(2), overwrite).run(work)


def test_the_next_is_read_and_the_last_is_written_while_one_is_computed(work, order, monkeypatch, capsys):
    computing, read_ahead = threading.Event(), threading.Event()
    real_read, real_write = files.read, files.write
    together = []

    def read(job):
        if job.source.stem == "b":
            read_ahead.set()
        return real_read(job)

    def write(job, image):
        if job.source.stem == "a":
            together.append(("b is computed while a is written", computing.wait(SECONDS)))
        real_write(job, image)

    def at_work():
        if "enlarge b" in order:
            computing.set()
        else:
            together.append(("b is read while a is computed", read_ahead.wait(SECONDS)))

    monkeypatch.setattr(files, "read", read)
    monkeypatch.setattr(files, "write", write)
    assert run(Way(at_work), work) == []
    assert dict(together) == {"b is read while a is computed": True, "b is computed while a is written": True}
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        str(job.output) for job in work
    ]
    for value, job in enumerate(work):
        assert np.asarray(Image.open(job.output)).reshape(-1, 3).tolist() == [[value, 0, 0]] * 96


def test_nothing_overlaps_where_memory_holds_one_picture(work, order, monkeypatch):
    held = set()
    real_enlarge, real_write = files.enlarge, files.write

    def enlarge(way, job, plan, picture):
        held.add(job)
        return real_enlarge(way, job, plan, picture)

    def write(job, image):
        real_write(job, image)
        held.discard(job)

    monkeypatch.setattr(files, "enlarge", enlarge)
    monkeypatch.setattr(files, "write", write)
    monkeypatch.setattr("lua_lightning.environment.memory", lambda: (Way.needed * (1.5 - len(held)), 2**40))
    assert run(Way(), work) == []
    for first, second in (("a", "b"), ("b", "c")):
        assert order.index(f"{first} write") < order.index(f"read {second}")


def test_reasons_come_in_the_order_of_the_files(work, monkeypatch):
    work[1].source.write_text("no picture")
    real = files.write

    def write(job, image):
        if job is work[0]:
            raise UserError(f"{job.output} cannot be written")
        real(job, image)

    monkeypatch.setattr(files, "write", write)
    reasons = run(Way(), work)
    assert [str(job.source.stem) in reason for job, reason in zip(work, reasons, strict=False)] == [True, True]
    assert "cannot be written" in reasons[0]
    assert work[2].output.is_file()


def test_what_was_made_meanwhile_stays(work):
    def made_by_another():
        work[1].output.parent.mkdir(exist_ok=True)
        work[1].output.write_text("of another")

    (reason,) = run(Way(made_by_another), work[:2])
    assert "it was made meanwhile, and stays" in reason
    assert work[1].output.read_text() == "of another"


def test_a_signal_lets_the_picture_that_is_written_come_to_its_end(work, monkeypatch, capsys):
    begun, real = threading.Event(), files.write
    stopped = threading.Event()

    def write(job, image):
        begun.set()
        stopped.wait(SECONDS)
        real(job, image)

    def at_work():
        if begun.wait(0.2):  # of the first picture, while the second is computed
            threading.Timer(0.2, stopped.set).start()
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(files, "write", write)
    with terminable(), pytest.raises(Stopped):
        run(Way(at_work), work)
    assert [job.output.is_file() for job in work] == [True, False, False]
    assert capsys.readouterr().out.startswith(f"{work[0].output}: 6x4 -> 12x8")

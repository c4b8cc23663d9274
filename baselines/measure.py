"""Run a method several times and say what its phases take: median and spread of seconds, peak of memory."""

import multiprocessing
import pickle
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from baselines.contract import Outcome, Start, World
from baselines.registry import build_method
from lua_lightning.errors import UserError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Spread:
    """Seconds of repeated runs.

    Attributes:
        median: Of all runs that count.
        low: The fastest.
        high: The slowest.
        n: How many there were.
    """

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True)
class Measured:
    """A method's image and what it took.

    Attributes:
        outcome: The last run.
        seconds: Of each phase; one that was run once for several methods has n = 1.
        peak_mib: Largest of all runs, by phase.
    """

    outcome: Outcome
    seconds: dict[str, Spread]
    peak_mib: dict[str, float]


def measure(
    name: str, world: World, start: Start, size: int, settings: list[str], repeats: int = 1, warmups: int = 0
) -> Measured:
    """Return what the method called `name` makes of `start` and what it takes, `warmups` runs not counted.

    Raises:
        UserError: The method cannot run here.
    """
    method = build_method(name, world, settings)
    outcomes = [method.run(start, size) for _ in range(warmups + repeats)][warmups:]
    last = outcomes[-1]
    seconds = {}
    for phase in last.seconds:
        once = phase in last.shared
        seconds[phase] = Spread.of([outcome.seconds[phase] for outcome in (outcomes[:1] if once else outcomes)])
    peaks = {phase: max(outcome.peak_mib[phase] for outcome in outcomes) for phase in last.peak_mib}
    return Measured(last, seconds, peaks)


def _child(connection, function: Callable, arguments: tuple) -> None:
    try:
        result = function(*arguments)
    except UserError as error:
        result = UserError(str(error))
    connection.send_bytes(pickle.dumps(result))  # not `send`: it would share tensors that end with this process


def apart(what: str, function: Callable[..., Result], *arguments: Any) -> Result:
    """Return `function(*arguments)` of a process of its own, so that its memory is its own and a crash ends it alone.

    Args:
        what: What errors call it.
        function: One that a module defines.
        arguments: Of the function; they and the result are pickled.

    Raises:
        UserError: The function raised one, or its process died, as it does when the system is out of memory.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        result = pickle.loads(ours.recv_bytes())
    except EOFError:
        process.join()
        raise UserError(f"{what} ended with exit code {process.exitcode}, perhaps out of memory") from None
    process.join()
    if isinstance(result, UserError):
        raise result
    return result


def measure_apart(
    name: str, world: World, start: Start, size: int, settings: list[str], repeats: int = 1, warmups: int = 0
) -> Measured:
    """Do as `measure` does in a process of its own; see `apart`.

    Raises:
        UserError: The method cannot run here, or its process died, as it does when the system is out of memory.
    """
    names = world.generator_name, world.adapter_name
    alone = World(*names, world.device, world.steps, world.offload)  # without what is loaded
    return apart(f"{name} at {size} px", measure, name, alone, start, size, settings, repeats, warmups)

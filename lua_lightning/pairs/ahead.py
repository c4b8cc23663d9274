"""Work done ahead by threads, while whoever needs its results is busy with the ones before."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield `function(item)` of every item, in their order.

    Threads, not processes: decoding and resizing run outside the interpreter's lock. Close the iterator when it is
    given up early, so that nothing more is begun.

    Args:
        function: May raise; the error comes when its result would.
        items: What to work on.
        workers: Threads, which are at most twice as many results ahead; 0 works only when a result is asked for.
    """
    if workers == 0:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="ahead") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) == 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

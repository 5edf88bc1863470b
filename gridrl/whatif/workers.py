"""Variants side by side in threads: kernels and HiGHS leave Python alone while they work."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import TypeVar

# Called with the share that is done, 0..1, and what is being done.
Progress = Callable[[float, str], None]

Item = TypeVar("Item")
Result = TypeVar("Result")

SWITCH = 2e-4  # s that a thread which comes back from a kernel waits for Python at most
MOST_THREADS = 8  # by default: what Python itself does is not shared


class Stopped(Exception):
    """Raised in a worker at its next word of progress after the study was interrupted."""


def usable_cores() -> int:
    """Processor cores that this process may use, at most `MOST_THREADS`."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        count = os.cpu_count() or 1
    return min(count, MOST_THREADS)


class Shares:
    """Progress of variants that run side by side, as one share of a whole study."""

    def __init__(self, report: Progress | None, begin: int, total: int) -> None:
        self.report, self.total = report, total
        self.done, self.parts = float(begin), {-1: 0.0}
        self.lock, self.stop = Lock(), Event()

    def say(self, part: float, what: str, k: int = -1) -> None:
        """Say that ``part`` of variant ``k`` is done."""
        if self.stop.is_set():
            raise Stopped
        if self.report is None:
            return
        with self.lock:
            self.parts[k] = part
            self.report((self.done + sum(self.parts.values())) / self.total, what)


def side_by_side(
    work: Callable[[Item, Progress], Result],
    items: Sequence[Item],
    threads: int,
    shares: Shares,
) -> Iterator[Result]:
    """Yield what ``work`` makes of every item, as it finishes.

    When the caller stops early, by an exception or by closing this, what runs is stopped at its
    next word of progress, and what has not begun does not begin.
    """

    def run(k: int) -> Result:
        return work(items[k], lambda part, what: shares.say(part, what, k))

    if threads < 2:
        yield from map(run, range(len(items)))
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="gridrl-study")
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    running: set[Future[Result]] = {pool.submit(run, k) for k in range(len(items))}
    try:
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    finally:
        sys.setswitchinterval(before)
        shares.stop.set()
        pool.shutdown(cancel_futures=True)

"""A step's parts, one after another: what a batch that memory does not hold at once is computed in.

A system's step is straight code with updates in between, each of which needs all parts' gradients. So every part runs
the whole step in a thread of its own and gives way at each update: one runs at a time, in order, and the next begins
where this one minimises. What lives at once is one part's graph.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context


class _Stopped(BaseException):
    """Ends a part whose neighbour failed."""


class Turns:
    """``count`` parts that take turns.

    Args:
        count: of parts; a single one runs where it is called, without a thread.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._turns = [threading.Semaphore(0) for _ in range(count)]
        self._failure: BaseException | None = None

    def run(self, work: Callable[[int], None]) -> None:
        """``work(part)`` of every part; raises what the first that failed raised."""
        if self.count == 1:
            work(0)
            return
        parts = [
            threading.Thread(target=copy_context().run, args=(self._part, work, part), daemon=True)
            for part in range(self.count)
        ]
        for part in parts:
            part.start()
        self._turns[0].release()
        try:
            for part in parts:
                part.join()
        except BaseException as interrupt:  # parts go on to their next turn, and end there
            self._failure = interrupt
            for part in parts:
                part.join()
        if self._failure is not None:
            raise self._failure

    def give_way(self, part: int) -> None:
        """The parts behind this one come as far as it is, or, behind the last, the first goes on."""
        if self.count > 1:
            self._turns[(part + 1) % self.count].release()
            self._turns[part].acquire()
            if self._failure is not None:
                raise _Stopped

    def _part(self, work: Callable[[int], None], part: int) -> None:
        self._turns[part].acquire()
        try:
            if self._failure is None:
                work(part)
        except _Stopped:
            pass
        except BaseException as failure:
            self._failure = self._failure or failure
        finally:
            self._turns[(part + 1) % self.count].release()

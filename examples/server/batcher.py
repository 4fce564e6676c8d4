"""A `genfuse.ContinuousBatch` for asyncio: requests wait in a bounded queue, one thread steps the batch."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from genfuse import ContinuousBatch

WINDOW = 60.0
"""Seconds that pictures a second are counted over."""


class Full(Exception):
    """As many requests wait as may."""


class Stopping(Exception):
    """No request is taken any more."""


@dataclass
class Counts:
    """Since the start; metrics are made of their differences."""

    steps: int = 0
    member_steps: int = 0
    step_seconds: float = 0.0
    pictures: int = 0
    refused: int = 0
    cancelled: int = 0
    failed: int = 0


class Batcher:
    """Requests that share a batch, in the order they came. Everything but the step runs in the event loop.

    limit  requests that may wait for a place in the batch
    """

    def __init__(self, batch: ContinuousBatch, limit: int) -> None:
        self.batch, self.limit = batch, limit
        self.counts = Counts()
        self._waiting: deque[tuple[dict[str, Any], asyncio.Future[Tensor]]] = deque()
        self._joined: dict[int, asyncio.Future[Tensor]] = {}
        self._finished: deque[float] = deque()
        self._wake = asyncio.Event()
        self._stopping = False

    async def sample(self, **arrival: Any) -> Tensor:
        """What `ContinuousBatch.join` is given, as a sample.

        Raises Full, Stopping, what `join` refuses, and RuntimeError where the model raised.
        A task that is cancelled gives its place up before the next step.
        """
        if self._stopping:
            raise Stopping
        if self.waiting >= self.limit + self.batch.free:
            self.counts.refused += 1
            raise Full
        future: asyncio.Future[Tensor] = asyncio.get_running_loop().create_future()
        self._waiting.append((arrival, future))
        self._wake.set()
        try:
            return await future
        except asyncio.CancelledError:
            self.counts.cancelled += 1
            raise

    async def run(self) -> None:
        """Step while there is anybody; returns once `stop` was called and everybody is served."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "batch") as thread:
            while True:
                self._let_leave()
                self._let_join()
                if not len(self.batch):
                    if self._stopping:
                        return
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                self.counts.steps += 1
                self.counts.member_steps += len(self.batch)
                began = time.perf_counter()
                try:
                    done = await loop.run_in_executor(thread, self.batch.step)
                except Exception as error:  # of the model: of nobody's request alone
                    self._fail(error)
                    continue
                self.counts.step_seconds += time.perf_counter() - began
                for ticket, sample in done.items():
                    self._finish(self._joined.pop(ticket), sample)

    def stop(self) -> None:
        """Take no more requests; those that are here are served."""
        self._stopping = True
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Requests that are not in the batch yet."""
        return sum(not future.done() for _, future in self._waiting)

    def pictures_per_second(self) -> float:
        """Over the last `WINDOW` seconds."""
        while self._finished and self._finished[0] < time.monotonic() - WINDOW:
            self._finished.popleft()
        return len(self._finished) / WINDOW

    def _let_leave(self) -> None:
        for ticket in [ticket for ticket, future in self._joined.items() if future.done()]:
            self.batch.leave(ticket)
            del self._joined[ticket]

    def _let_join(self) -> None:
        while self._waiting and self.batch.free:
            arrival, future = self._waiting.popleft()
            if future.done():
                continue
            try:
                self._joined[self.batch.join(**arrival)] = future
            except (ValueError, TypeError) as error:
                future.set_exception(error)

    def _finish(self, future: asyncio.Future[Tensor], sample: Tensor) -> None:
        if future.done():
            return
        self.counts.pictures += 1
        self._finished.append(time.monotonic())
        future.set_result(sample)

    def _fail(self, error: Exception) -> None:
        for ticket, future in self._joined.items():
            self.batch.leave(ticket)
            if not future.done():
                self.counts.failed += 1
                future.set_exception(RuntimeError(f"the network failed: {error}"))
        self._joined.clear()

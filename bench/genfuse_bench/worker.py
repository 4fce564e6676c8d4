"""Who measures: this process, or one of its own for each way to allocate memory.

glibc's thresholds cannot be set back to moving by themselves, so that peers are measured with them raised and as
they come in two processes. Both hold the same workload and take their windows in turn: what slows the machine slows
both alike, and while one measures the other waits.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch

from genfuse_bench import sections
from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.contest import Contest, Facts
from genfuse_bench.gemm_peak import gemm_peak
from genfuse_bench.measurement import Window
from genfuse_bench.module_peers import MODULE_PEERS
from genfuse_bench.timing import Effort

ALLOCATORS = ("tuned", "default")
"""glibc told to keep freed memory; as it comes."""


class Measurer(Protocol):
    """Holds one workload at a time."""

    def prepare(self, section: str, number: int, dtype: torch.dtype, peers: Sequence[str]) -> Facts:
        """Take a section's workload in the place of the last one, and check everyone on it."""

    def window(self, effort: Effort) -> Window:
        """Everyone's times, in turn."""

    def peak(self, dtype: torch.dtype) -> float:
        """GFLOP/s of the machine's matrix product."""


class Local:
    """In this process."""

    def __init__(self) -> None:
        self._contest: Contest | None = None

    def prepare(self, section: str, number: int, dtype: torch.dtype, peers: Sequence[str]) -> Facts:
        """See `Measurer`."""
        self._contest = None
        torch._dynamo.reset()
        gc.collect()
        workload = sections.make(section, number)
        self._contest = Contest(workload, dtype, [MODULE_PEERS[name] for name in peers])
        return self._contest.facts

    def window(self, effort: Effort) -> Window:
        """See `Measurer`."""
        if self._contest is None:
            raise RuntimeError("no workload yet, call prepare")
        return self._contest.window(effort)

    def peak(self, dtype: torch.dtype) -> float:
        """See `Measurer`."""
        return gemm_peak(dtype)


class Worker:
    """In a process of its own, with this allocator; what fails there raises a RuntimeError here."""

    def __init__(self, allocator: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, allocator, threads))
        self._process.start()
        other.close()

    def prepare(self, section: str, number: int, dtype: torch.dtype, peers: Sequence[str]) -> Facts:
        """See `Measurer`."""
        facts: Facts = self._ask("prepare", section, number, dtype, peers)
        return facts

    def window(self, effort: Effort) -> Window:
        """See `Measurer`."""
        taken: Window = self._ask("window", effort)
        return taken

    def peak(self, dtype: torch.dtype) -> float:
        """See `Measurer`."""
        return float(self._ask("peak", dtype))

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            self._pipe.send((method, arguments))
            failure, answer = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join()
            raise RuntimeError(f"the measuring process died with status {self._process.exitcode}") from None
        if failure:
            raise RuntimeError(f"in the measuring process:\n{failure}")
        return answer


def _serve(pipe: Connection, allocator: str, threads: int) -> None:
    """Answer calls of `Local`'s methods until the pipe is closed; converters' chatter goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    torch.set_num_threads(threads)
    if allocator == "tuned":
        keep_freed_memory()
    local = Local()
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("", getattr(local, method)(*arguments)))
        except Exception:
            pipe.send((traceback.format_exc(), None))

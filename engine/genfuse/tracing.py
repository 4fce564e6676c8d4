"""`genfuse.trace`: what ran, where and how long, what it moved and computed, and how far that is from the roofline."""

from __future__ import annotations

import inspect
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genfuse import dispatch, env
from genfuse.data.atomic import atomic_path, check_path
from genfuse.dispatch import Choice
from genfuse.lab.contract import contract
from genfuse_kernels.common.work import Work, gradient_work, work


@dataclass(frozen=True)
class Event:
    """One launch. Times are seconds, `start` since the trace began; on a GPU they are the device's own."""

    op: str
    choice: Choice
    device: str
    dtype: str
    shapes: dict[str, tuple[int, ...]]
    start: float
    seconds: float
    work: Work
    thread: int


@dataclass(frozen=True)
class Peaks:
    """What a device reaches here: bytes a second in a copy, and FLOPs a second in a float32 matrix product."""

    memory: float
    arithmetic: float

    def share(self, work: Work, seconds: float) -> float:
        """Of the roofline: the time that bytes or FLOPs take at least, over the time taken. Above 1 out of a cache."""
        least = max(work.bytes / self.memory, work.flops / self.arithmetic)
        return least / seconds if seconds > 0 else 0.0


@dataclass
class Trace:
    """What was recorded: `events`, and `peaks` of each device that they ran on; `print` shows a table."""

    events: list[Event] = field(default_factory=list)
    peaks: dict[str, Peaks] = field(default_factory=dict)
    seconds: float = 0.0

    def rows(self) -> list[dict[str, Any]]:
        """Kinds of calls, the longest first: op, backend, device, dtype, calls, ms, share of the time, GB/s, GFLOP/s,
        share of the roofline.
        """
        kinds: dict[tuple[str, str, str, str], list[Event]] = defaultdict(list)
        for event in self.events:
            kinds[event.op, str(event.choice.backend), event.device, event.dtype].append(event)
        made = [self._row(kind, events) for kind, events in kinds.items()]
        return sorted(made, key=lambda row: -row["ms"])

    def _row(self, kind: tuple[str, str, str, str], events: list[Event]) -> dict[str, Any]:
        seconds = sum(event.seconds for event in events)
        whole = Work(sum(event.work.bytes for event in events), sum(event.work.flops for event in events))
        return {
            **dict(zip(("op", "backend", "device", "dtype"), kind, strict=True)),
            "calls": len(events),
            "ms": seconds * 1e3,
            "share": seconds / self.seconds if self.seconds else 0.0,
            "GB/s": whole.bytes / seconds / 1e9 if seconds else 0.0,
            "GFLOP/s": whole.flops / seconds / 1e9 if seconds else 0.0,
            "roofline": self.peaks[kind[2]].share(whole, seconds),
        }

    def __str__(self) -> str:
        head = ("op", "backend", "device", "dtype", "calls", "ms", "share", "GB/s", "GFLOP/s", "roofline")
        lines: list[tuple[str, ...]] = [head]
        for row in self.rows():
            numbers = (
                f"{row['ms']:.3f}",
                f"{row['share']:.0%}",
                f"{row['GB/s']:.1f}",
                f"{row['GFLOP/s']:.1f}",
            )
            names = tuple(str(row[name]) for name in head[:5])
            lines.append((*names, *numbers, f"{row['roofline']:.0%}"))
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        table = [
            "  ".join(
                cell.ljust(width) if i < 4 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        ours = sum(event.seconds for event in self.events)
        inside = ours / self.seconds if self.seconds else 0.0
        rest = f"{self.seconds * 1e3:.3f} ms in all, {inside:.0%} of it in these ops"
        peaks = [
            f"roofline of {device}: {of.memory / 1e9:.1f} GB/s (a copy), {of.arithmetic / 1e9:.0f} GFLOP/s (a product)"
            for device, of in self.peaks.items()
        ]
        return "\n".join([*table, rest, *peaks])

    def chrome(self) -> dict[str, Any]:
        """The trace in Chrome's format, which Perfetto (ui.perfetto.dev) and chrome://tracing show."""
        return {
            "traceEvents": [self._chrome(event) for event in self.events],
            "displayTimeUnit": "ms",
            "otherData": {
                "machine": env.processor(),
                "gpus": env.gpus(),
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
                "peaks": {device: vars(of) for device, of in self.peaks.items()},
            },
        }

    def _chrome(self, event: Event) -> dict[str, Any]:
        told = {
            "backend": event.choice.backend,
            "why": event.choice.reason,
            "passed over": dict(event.choice.passed_over),
            "device": event.device,
            "dtype": event.dtype,
            "shapes": {name: list(shape) for name, shape in event.shapes.items()},
            "bytes": event.work.bytes,
            "FLOPs": event.work.flops,
            "share of the roofline": self.peaks[event.device].share(event.work, event.seconds),
        }
        return {
            "name": event.op,
            "cat": f"genfuse {event.choice.backend}",
            "ph": "X",
            "ts": event.start * 1e6,
            "dur": event.seconds * 1e6,
            "pid": event.device,
            "tid": event.thread,
            "args": told,
        }


@contextmanager
def trace(path: str | PathLike[str] | None = None) -> Iterator[Trace]:
    """Record every launch of genfuse's ops inside the block, on all threads, both ways; then write and measure.

    path    gets the trace as JSON, for ui.perfetto.dev; None: it is only given to the block

    Of a launch: op, backend, why dispatch chose it and passed over each other one, device, dtype, shapes, time, bytes
    and FLOPs. What runs on plans elsewhere (samplers, optimised networks) is taken apart and runs op by op, to the
    same results. Kernels of a backward pass stand as `<op>_gradient`. PyTorch's own ops are in the whole time alone.
    Peaks of the roofline are measured behind the block, a fifth of a second a device. Outside of the block nothing is
    asked but one name a launch.

    RuntimeError inside of another trace; ValueError, before anything runs, where no file can be at path.
    """
    if dispatch.is_observed():
        raise RuntimeError("a trace is being recorded already; end it first")
    target = None if path is None else Path(path)
    if target is not None:
        check_path("path", target)
    found, recorder = Trace(), _Recorder()
    with dispatch.observing(recorder):
        begin = time.perf_counter()
        try:
            yield found
        finally:
            for device in recorder.devices:
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
            found.seconds = time.perf_counter() - begin
    found.events = recorder.events(begin)
    found.peaks = {str(device): _peaks(device) for device in recorder.devices}
    if target is not None:
        with atomic_path(target) as made:
            made.write_text(json.dumps(found.chrome()), encoding="utf-8")


class _Recorder:
    """Stands around launchers, and notes what they are given and how long they take."""

    def __init__(self) -> None:
        self._notes: list[tuple[Any, ...]] = []
        self._choices: dict[Any, Choice] = {}
        self.devices: set[torch.device] = set()

    def __call__(
        self,
        op: str,
        launch: dispatch.Launcher,
        device: torch.device,
        dtype: torch.dtype,
        gradients: bool,
        limits: Mapping[dispatch.Backend, str],
    ) -> dispatch.Launcher:
        key = op, device, dtype, gradients, tuple(limits.items()), dispatch.forced(), dispatch.is_strict()
        if key not in self._choices:
            self._choices[key] = dispatch.choose(op, device, dtype, gradients, limits)
        choice = self._choices[key]
        self.devices.add(device)

        def observed(*arguments: Any, **options: Any) -> None:
            given = contract(op).bound(arguments, options)
            shapes = {name: tuple(t.shape) for name, t in given.items() if isinstance(t, Tensor)}
            of = work(op, given)  # before: an op in place may change what it is counted from
            _, start, end = self._timed(device, lambda: launch(*arguments, **options))
            self._notes.append((op, choice, device, dtype, shapes, of, start, end, threading.get_ident()))

        return observed

    def chosen(
        self, name: str, backend: dispatch.Backend, launch: dispatch.Gradient, like: Tensor
    ) -> dispatch.Gradient:
        """An op's launcher, or its gradient's, of a backend that stood fixed before."""
        op, device, dtype = name.removesuffix("_gradient"), like.device, like.dtype
        choice = Choice(name, backend, "chosen for the whole pass", {})
        bind = inspect.signature(launch).bind
        self.devices.add(device)

        def observed(*arguments: Any, **options: Any) -> Any:
            forward = contract(op).bound(arguments, options) if name == op else None
            given = bind(*arguments, **options).arguments if forward is None else forward
            shapes = {name: tuple(t.shape) for name, t in given.items() if isinstance(t, Tensor)}
            made, start, end = self._timed(device, lambda: launch(*arguments, **options))
            of = gradient_work(op, given, made) if forward is None else work(op, given)
            self._notes.append((name, choice, device, dtype, shapes, of, start, end, threading.get_ident()))
            return made

        return observed

    @staticmethod
    def _timed(device: torch.device, call: Callable[[], Any]) -> tuple[Any, Any, Any]:
        """What it made, and marks before and behind: times on the CPU, and beside them events of a GPU's stream."""
        if device.type != "cuda":
            start = time.perf_counter()
            made = call()
            return made, start, time.perf_counter()
        make_event: Any = torch.cuda.Event  # untyped in PyTorch
        first, last = make_event(enable_timing=True), make_event(enable_timing=True)
        start = time.perf_counter()
        first.record()
        made = call()
        last.record()
        return made, start, (first, last)

    def events(self, begin: float) -> list[Event]:
        """All that was noted, once the devices have finished."""
        made = []
        for op, choice, device, dtype, shapes, of, start, end, thread in self._notes:
            seconds = end[0].elapsed_time(end[1]) / 1e3 if isinstance(end, tuple) else end - start
            name = str(dtype).removeprefix("torch.")
            made.append(Event(op, choice, str(device), name, shapes, start - begin, seconds, of, thread))
        return made


def _peaks(device: torch.device) -> Peaks:
    """The best of a few copies of 64 MiB and products of 1024 x 1024."""
    with torch.no_grad():
        x = torch.ones(2**24, device=device)
        y, a = torch.empty_like(x), torch.ones(1024, 1024, device=device)
        copying = min(_seconds(device, lambda: y.copy_(x)) for _ in range(4))
        multiplying = min(_seconds(device, lambda: a @ a) for _ in range(4))
    return Peaks(2 * x.nbytes / copying, 2 * 1024**3 / multiplying)


def _seconds(device: torch.device, call: Callable[[], object]) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start

"""Which kernel of an op is fastest on this machine: measured at the first call of its kind, and kept on disk.

Asked only inside `backend(reproducible=False)`, here for tensors on the CPU (`tuned` is for those on GPUs): what is
measured differs from machine to machine and from day to day, and kernels that are equally right round differently.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from genfuse import env
from genfuse.data.atomic import atomic_path
from genfuse_kernels.common.cache_directory import cache_directory, private_folder

_SECONDS = 0.03  # for each kernel that is still in the running
_ROUNDS, _LEAST_ROUNDS = 15, 5
_BEHIND = 1.5  # times the fastest: no longer in the running after the first round
_GAIN = 0.95  # of the time by rule: less of a gain is noise
_OTHER_GAIN = 0.8  # on another backend, whose results a plan has to copy and whose calls find its caches cold


@dataclass(frozen=True)
class Measured:
    """The choice for one kind of call, and how it came about."""

    op: str
    call: str
    """shapes, dtypes, layouts, settings and threads"""
    backend: Literal["cpu", "triton", "cuda", "aten"]
    kernel: str
    """"" where the backend has one alone"""
    way: tuple[int, ...]
    """the launcher's argument `way`, if it takes one"""
    seconds: float
    by_rule: float
    """seconds of what runs without a measurement"""

    @property
    def is_gain(self) -> bool:
        """Whether something else runs than by rule."""
        return self.seconds < self.by_rule

    def __str__(self) -> str:
        return f"{self.backend} {self.kernel}".strip()


_told: ContextVar[Callable[[Measured], None] | None] = ContextVar("genfuse_measured", default=None)


@contextmanager
def telling(tell: Callable[[Measured], None]) -> Iterator[None]:
    """Inside, `tell` hears of the choice of every call."""
    token = _told.set(tell)
    try:
        yield
    finally:
        _told.reset(token)


def tell(choice: Measured) -> None:
    """Whoever listens hears of the choice of a call."""
    listener = _told.get()
    if listener is not None:
        listener(choice)


Launcher = Callable[..., None]
Launchers = Mapping[Literal["cpu", "triton", "cuda", "aten"], Launcher]
"""Of the backends that can run a call, the one by rule first. Where a launcher's module defines `ways` and `finer`, as
`genfuse_kernels.conv_norm_act.cpu_impl` does, each of those is tried, by the launcher's argument `way`."""


def launcher(op: str, launchers: Launchers) -> Launcher:
    """A launcher that runs the fastest of these."""
    return partial(_launch, op, launchers)


def _launch(op: str, launchers: Launchers, *arguments: Any, **named: Any) -> None:
    from genfuse_kernels import _cpu

    planned = _cpu.recording() is not None
    call = signature(*arguments, **named) + ("; in a plan" if planned else "")
    kept = loaded(_place())
    choice = kept.get((op, call))
    if choice is None or choice.backend not in launchers:
        with _unrecorded():
            choice = _measure(op, call, launchers, arguments, named, planned)
        kept[op, call] = choice
        save(_place())
    tell(choice)
    run(launchers, choice, arguments, named)


def run(launchers: Launchers, choice: Measured, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    """The call, as chosen."""
    launch = launchers[choice.backend]
    if choice.way:
        launch(*arguments, way=module(launch).Way(*choice.way), **named)
    else:
        launch(*arguments, **named)


def module(launch: Launcher) -> ModuleType:
    """Where it is defined, with its `ways`."""
    return sys.modules[launch.__module__]


def signature(*arguments: Any, **named: Any) -> str:
    """What the time of a call depends on: everything but values."""
    parts = [described(value) for value in arguments]
    parts += [f"{name}={described(value)}" for name, value in named.items() if value is not None]
    return "; ".join((*parts, f"{torch.get_num_threads()} threads"))


def described(value: Any) -> str:
    """An argument, as far as time depends on it."""
    if isinstance(value, Tensor):
        last = value.ndim == 4 and value.stride(1) == 1 and value.shape[1] > 1
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{'x'.join(map(str, value.shape))} {dtype}{' channels last' if last else ''}"
    if hasattr(value, "_field_defaults"):  # the settings: what is not as usual
        own, usual = value._asdict(), value._field_defaults
        return ", ".join(f"{name}={own[name]}" for name in own if own[name] != usual.get(name)) or "plain"
    return str(value)


def _measure(
    op: str,
    call: str,
    launchers: Launchers,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    planned: bool,
) -> Measured:
    """First which kernel, then how its work is cut up."""
    from genfuse_kernels.common import packed_weights

    def timed(candidates: list[Measured]) -> list[Measured]:
        runs: list[Callable[[], None]] = [
            partial(run, launchers, each, arguments, named) for each in candidates
        ]
        if planned:
            ours = [each.backend == "cpu" for each in candidates]
            runs = [_as_in_a_plan(run, own) for run, own in zip(runs, ours, strict=True)]
        return _timed(candidates, runs)

    found: list[Measured] = []
    for backend, launch in launchers.items():
        ways = getattr(module(launch), "ways", None)
        several = {"": ()} if ways is None else ways(*arguments, **named)
        found += [Measured(op, call, backend, name, tuple(way), 0, 0) for name, way in several.items()]
    found = timed(found)
    best = min(found, key=_seconds)
    if best.backend != found[0].backend and best.seconds > _OTHER_GAIN * found[0].seconds:
        best = min((each for each in found if each.backend == found[0].backend), key=_seconds)
    if best.way:
        of = module(launchers[best.backend])
        cut = of.finer(best.kernel, of.Way(*best.way))
        finer = [replace(best, kernel=name, way=tuple(way)) for name, way in cut.items()]
        found = timed([found[0], *([] if best is found[0] else [best]), *finer])
    for tensor in (*arguments, *named.values()):
        if isinstance(tensor, Tensor):
            packed_weights.refresh(tensor)  # as the slower kernels read them
    rule = found[0]
    gains = [
        each
        for each in found
        if each.seconds < rule.seconds * (_GAIN if each.backend == rule.backend else _OTHER_GAIN)
    ]
    return replace(min(gains, key=_seconds, default=rule), by_rule=rule.seconds)


def _seconds(measured: Measured) -> float:
    return measured.seconds


def _timed(candidates: Sequence[Measured], runs: Sequence[Callable[[], None]]) -> list[Measured]:
    """With the shortest of their times, measured in turns: what else the machine does only adds."""
    for run in runs:
        run()  # packs weights, fills caches
    times: list[list[float]] = [[] for _ in runs]
    running, spent = list(range(len(runs))), 0.0
    while len(times[0]) < _ROUNDS and (spent < _SECONDS * len(running) or len(times[0]) < _LEAST_ROUNDS):
        for i in running:
            begin = time.perf_counter()
            runs[i]()
            times[i].append(time.perf_counter() - begin)
            spent += times[i][-1]
        fastest = min(min(each) for each in times if each)
        running = [i for i in running if i == 0 or min(times[i]) <= _BEHIND * fastest]
    return [replace(each, seconds=min(own)) for each, own in zip(candidates, times, strict=True)]


def _as_in_a_plan(run: Callable[[], None], ours: bool) -> Callable[[], None]:
    """What a plan does instead of this run: a kernel's call without Python, or PyTorch's and a copy of its result."""
    from genfuse_kernels import _cpu
    from genfuse_kernels.common import packed_weights, widened

    _, _, arguments, named = run.args  # type: ignore[attr-defined]
    if not ours:
        copied = torch.empty_like(arguments[0])

        def copying() -> None:
            run()
            copied.copy_(arguments[0])

        return copying
    held = [tensor for tensor in (*arguments, *named.values()) if isinstance(tensor, Tensor)]
    program = _cpu.Program()
    of_weights = packed_weights.on_use.set(lambda _, made: held.extend(tree_leaves(made)))
    of_others = widened.on_made.set(held.append)
    program.start()
    try:
        run()
    finally:
        program.stop()
        packed_weights.on_use.reset(of_weights)
        widened.on_made.reset(of_others)

    def covers(tensor: Tensor, address: int) -> bool:
        begin: int = tensor.untyped_storage().data_ptr()
        return begin <= address < begin + int(tensor.untyped_storage().nbytes())

    read = {address for step in range(len(program)) for address in program.addresses(step)}
    if not all(any(covers(tensor, address) for tensor in held) for address in read):
        return run  # of a copy that is made in every call

    def again() -> None:
        program.run(0, len(program))

    again.held = held  # type: ignore[attr-defined]
    return again


@contextmanager
def _unrecorded() -> Iterator[None]:
    """No plan that is being made keeps what is only measured."""
    from genfuse_kernels import _cpu
    from genfuse_kernels.common import packed_weights, widened

    program = _cpu.recording()
    of_weights, of_others = packed_weights.on_use.set(None), widened.on_made.set(None)
    if program is not None:
        program.stop()
    try:
        yield
    finally:
        if program is not None:
            program.start()
        packed_weights.on_use.reset(of_weights)
        widened.on_made.reset(of_others)


# --- on disk ---


class Place(NamedTuple):
    """A file of choices, and what they hold for: others of the same file are measured anew."""

    file: Path
    build: str


def _place() -> Place:
    """Of this processor, on the instruction set in use."""
    from genfuse_kernels import _cpu

    return Place(file_of(f"{_processor()}-{_cpu.isa()}"), _build())


def file_of(machine: str) -> Path:
    """Where the choices of a machine are kept."""
    name = "".join(c if c.isalnum() or c == "_" else "-" for c in machine)
    return cache_directory() / "measured" / f"{name}.json"


def path() -> Path:
    """The file of this processor's measurements, on the instruction set in use."""
    return _place().file


@cache
def _processor() -> str:
    return env.processor().lower()


def choices() -> list[Measured]:
    """All that was measured on this processor, on the instruction set in use."""
    return list(loaded(_place()).values())


def forget() -> None:
    """Measure anew from now on."""
    path().unlink(missing_ok=True)
    loaded.cache_clear()


Choices = dict[tuple[str, str], Measured]


@cache
def loaded(place: Place) -> Choices:
    """The choices of a place, read once a process."""
    return _read(place)


def _read(place: Place) -> Choices:
    """What the file says; nothing where it is another build's, or cannot be read, or is not what was written."""
    try:
        kept = json.loads(place.file.read_text(encoding="utf-8"))
        if kept["sha256"] != digest(kept["measured"]):
            return {}
        found = [Measured(**{**each, "way": tuple(each["way"])}) for each in kept["measured"]]
        return {(each.op, each.call): each for each in found} if kept["build"] == place.build else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def digest(entries: list[dict[str, Any]]) -> str:
    """The SHA-256 of a file's measurements."""
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def save(place: Place) -> None:
    """With what other processes measured meanwhile. Where the folder cannot be written, each process measures anew."""
    whole = _read(place) | loaded(place)
    entries = [asdict(each) for each in whole.values()]
    kept = {"build": place.build, "sha256": digest(entries), "measured": entries}
    text = json.dumps(kept, indent=1)
    try:
        private_folder(place.file.parent)
        with atomic_path(place.file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError:
        pass


@cache
def _build() -> str:
    """Changes with the kernels that were measured."""
    from genfuse_kernels import _cpu

    file = Path(_cpu.__file__).stat()
    return f"torch {torch.__version__}; kernels of {file.st_size} bytes, {file.st_mtime_ns}"

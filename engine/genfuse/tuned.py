"""Which of a GPU's kernels, and which of their configurations, is fastest on this device.

Asked only inside `backend(reproducible=False)`. Measured at the first call of its shape class, once a device, and kept
on disk by its name and driver; `genfuse tune --device cuda` does so beforehand. Never while a CUDA graph is captured,
when nothing may wait: there what was not measured before runs by rule, and `explain` says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import genfuse_kernels
from genfuse import env, measured
from genfuse.measured import Launchers, Measured, Place

REPEATS = 10
"""Calls between two events: the queue is then never empty, and the launch itself is not measured."""

ROUNDS = 5

GAIN = 0.95
"""Of the time by rule: less of a gain is noise."""

BY_RULE = "by rule: nothing is measured while a CUDA graph is captured; call once before, or `genfuse tune` beforehand"


def launcher(op: str, launchers: Launchers, device: torch.device) -> measured.Launcher:
    """A launcher that runs the fastest of these and their `ways`; the first is the one by rule."""
    return partial(_launch, op, launchers, device)


def _launch(op: str, launchers: Launchers, device: torch.device, *arguments: Any, **named: Any) -> None:
    call, where = shape_class(*arguments, **named), place(device)
    kept = measured.loaded(where)
    choice = kept.get((op, call))
    if choice is None or choice.backend not in launchers:
        if torch.cuda.is_current_stream_capturing():
            next(iter(launchers.values()))(*arguments, **named)
            return
        choice = _measure(op, call, launchers, device, arguments, named)
        kept[op, call] = choice
        measured.save(where)
    measured.tell(choice)
    measured.run(launchers, choice, arguments, named)


def shape_class(*arguments: Any, **named: Any) -> str:
    """What a call's time depends on, by and large: sizes above 16 but channels are rounded up to powers of two."""
    parts = [_described(value) for value in arguments]
    parts += [f"{name}={_described(value)}" for name, value in named.items() if value is not None]
    return "; ".join(parts)


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return measured.described(value)
    sizes = (
        size if axis == 1 or size <= 16 else 1 << (size - 1).bit_length()
        for axis, size in enumerate(value.shape)
    )
    last = value.ndim == 4 and value.stride(1) == 1 and value.shape[1] > 1
    dtype = str(value.dtype).removeprefix("torch.")
    return f"{'x'.join(map(str, sizes))} {dtype}{' channels last' if last else ''}"


def _measure(
    op: str,
    call: str,
    launchers: Launchers,
    device: torch.device,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
) -> Measured:
    """The fastest; what is by rule where nothing gains on it."""
    candidates: list[Measured] = []
    for backend, launch in launchers.items():
        ways = getattr(measured.module(launch), "ways", None)
        several = {"": ()} if ways is None else ways(*arguments, **named)
        candidates += [Measured(op, call, backend, name, tuple(way), 0, 0) for name, way in several.items()]
    rule, *others = candidates
    by_rule = _seconds(rule, launchers, device, arguments, named)
    found = [replace(rule, seconds=by_rule, by_rule=by_rule)]
    for each in others:
        try:
            seconds = _seconds(each, launchers, device, arguments, named)
        except Exception:  # a configuration may not fit this device; what is by rule has just run
            continue
        if seconds < GAIN * by_rule:
            found.append(replace(each, seconds=seconds, by_rule=by_rule))
    return min(found, key=lambda each: each.seconds)


def _seconds(
    choice: Measured,
    launchers: Launchers,
    device: torch.device,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
) -> float:
    run = partial(measured.run, launchers, choice, arguments, named)
    run()  # compiles, and fills caches
    return min(lap(run, device) for _ in range(ROUNDS))


def lap(run: Callable[[], None], device: torch.device) -> float:
    """Seconds of the device for one of `REPEATS` calls, between events of its current stream."""
    make_event: Any = torch.cuda.Event  # untyped in PyTorch
    with torch.cuda.device(device):
        begin, end = make_event(enable_timing=True), make_event(enable_timing=True)
        begin.record()
        for _ in range(REPEATS):
            run()
        end.record()
        end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3 / REPEATS


def choices(device: torch.device) -> list[Measured]:
    """All that was measured on this device."""
    return list(measured.loaded(place(device)).values())


def forget(device: torch.device) -> None:
    """Measure anew from now on."""
    place(device).file.unlink(missing_ok=True)
    measured.loaded.cache_clear()


def place(device: torch.device) -> Place:
    """The file of this device and driver, and what was measured there."""
    return _place(torch.cuda.current_device() if device.index is None else device.index)


@cache
def _place(number: int) -> Place:
    machine = f"{torch.cuda.get_device_name(number)} driver {env.gpu_driver()}".lower()
    triton = env.version("triton") or "none"
    return Place(
        measured.file_of(machine), f"torch {torch.__version__}; triton {triton}; kernels {_kernels()}"
    )


@cache
def _kernels() -> str:
    """Changes with the GPU's kernels, and what launches them."""
    from genfuse_kernels.common.cuda_kernel import sources

    digest = hashlib.sha256()
    files = [*Path(genfuse_kernels.__file__).parent.rglob("*.py"), *sources().rglob("*cuda*")]
    for path in sorted(path for path in files if path.is_file()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]

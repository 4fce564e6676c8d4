"""A kernel of one's own beside ours and the peers: held against the op's cases, and timed only where it is right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import genfuse
from genfuse import dispatch, registry
from genfuse.lab import check
from genfuse.lab.registration import Registration
from genfuse_bench.gpu_ops import OPS, Made, Subject, subjects
from genfuse_bench.machine import Machine
from genfuse_bench.timing import Call, Effort, measure

SHAPES = ((1, 64, 16, 16), (4, 64, 32, 32))
EFFORT = Effort(windows=3, window=0.2, limit=3.0)
CASES = 8
"""Of the op, which a kernel has to get right before it is timed."""

_GROWTH, _ROUNDINGS = 2.0, 64
_STEP = range(1)


@dataclass(frozen=True)
class LabRow:
    """One competitor on one call.

    file, hash   of a kernel of one's own; None of others
    error        relative to the largest number of the exact result; None where there is nothing to compare
    refused      why it has no time
    """

    op: str
    workload: str
    shape: tuple[int, ...]
    dtype: str
    device: str
    threads: int
    who: str
    file: str | None
    hash: str | None
    us: float | None
    fastest_us: float | None
    error: float | None
    refused: str | None
    contended: bool


def race(
    kernels: Sequence[Registration],
    dtype: torch.dtype,
    device: torch.device,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    *,
    cases: int = CASES,
    effort: Effort = EFFORT,
) -> list[LabRow]:
    """Kernels of one op, none of them registered any more, ours, and what runs the op today, on each shape."""
    verdicts = {kernel: _verdict(kernel, dtype, cases) for kernel in kernels}
    rows: list[LabRow] = []
    for subject in lab_subjects(kernels[0].op, dtype, device, shapes):
        with torch.no_grad():
            rows += _contest(subject, verdicts, dtype, device, effort)
    return rows


def lab_subjects(
    op: str, dtype: torch.dtype, device: torch.device, shapes: Sequence[tuple[int, ...]]
) -> list[Subject]:
    """The calls of an op that are timed."""
    if op in OPS:
        return list(subjects([op], dtype, device, shapes=shapes))
    return [_sampler_step(torch.randn(shape, device=device).to(dtype)) for shape in shapes]


def _verdict(kernel: Registration, dtype: torch.dtype, cases: int) -> str | None:
    if dtype not in kernel.source.dtypes:
        return f"it does not take {dtype}"
    return check.verdict(list(check.check(kernel.source, cases, launch=kernel.launcher())))


def _contest(
    subject: Subject,
    verdicts: dict[Registration, str | None],
    dtype: torch.dtype,
    device: torch.device,
    effort: Effort,
) -> list[LabRow]:
    own = {kernel.source.path.name: kernel for kernel in verdicts}
    first_form = next(iter(subject.ours.values()))
    runs: dict[str, Made] = {name: partial(_with, kernel, first_form) for name, kernel in own.items()}
    for backend in dispatch.ORDER.get(device.type, ()):
        if backend != "aten" and dispatch.obstacle(subject.op, backend, device, dtype) is None:
            runs[f"genfuse {backend}"] = partial(_forced, backend, first_form)
    runs |= subject.peers
    exact = None if subject.exact is None else subject.exact()
    refused = {name: verdicts[kernel] for name, kernel in own.items()}
    errors: dict[str, float | None] = {}
    for name, made in runs.items():
        try:
            errors[name] = None if refused.get(name) or exact is None else _error(made, exact)
        except genfuse.UnsupportedError as declined:
            refused[name], errors[name] = f"declines this call: {declined}", None
    eager = errors.get("eager")
    for name in own:
        error, bound = (
            errors[name],
            None if eager is None else _GROWTH * eager + _ROUNDINGS * torch.finfo(dtype).eps,
        )
        if error is not None and bound is not None and not error <= bound:
            refused[name] = f"error {error:.1e}, expected at most {bound:.1e}"
    right = {name: made for name, made in runs.items() if not refused.get(name)}
    measured = measure({name: Call(made) for name, made in right.items()}, _STEP, device, effort)

    def row(name: str) -> LabRow:
        kernel = own.get(name)
        return LabRow(
            subject.op,
            subject.case,
            subject.shape,
            str(dtype).removeprefix("torch."),
            str(device),
            torch.get_num_threads(),
            name,
            None if kernel is None else kernel.source.path.name,
            None if kernel is None else kernel.source.hash,
            measured.us.get(name),
            measured.fastest_us.get(name),
            errors[name],
            refused.get(name),
            measured.contended,
        )

    return [row(name) for name in runs]


def _with(kernel: Registration, made: Made) -> Any:
    """The call on this kernel, which raises where it declines it."""
    registry.add(kernel.op, kernel)
    try:
        return made()
    finally:
        registry.remove(kernel.op, kernel)


def _forced(backend: dispatch.Backend, made: Made) -> Any:
    with genfuse.backend(backend):
        return made()


def _error(made: Made, exact: Tensor) -> float:
    got: Tensor = made()
    return float((got.double() - exact).abs().max() / exact.abs().max())


def _sampler_step(x: Tensor) -> Subject:
    """A step of DPM-Solver++ 2M behind the first, with guidance."""
    sampler = genfuse.Sampler("dpmpp_2m", 8)
    wide = torch.float64 if x.device.type == "cpu" else torch.float32
    table, output, uncond = sampler.table.rows.to(x.device, wide), torch.randn_like(x), torch.randn_like(x)
    history, out = torch.randn(2, *x.shape, device=x.device).to(x.dtype), torch.empty_like(x)

    stored = torch.empty_like(x)

    def step(*tensors: Tensor) -> Tensor:
        x, output, uncond, history = tensors
        made, _ = genfuse.ops.sampler_step(x, output, table, 2, uncond=uncond, history=history, store=True)
        return made

    def in_place() -> Tensor:
        genfuse.ops.sampler_step_(x, output, table, 2, uncond=uncond, history=history, out=out, stored=stored)
        return out

    def plain() -> Tensor:
        with genfuse.backend("aten"):
            return in_place()

    given = x, output, uncond, history
    return Subject(
        "sampler_step",
        "DPM-Solver++ 2M, guided",
        tuple(x.shape),
        {"": in_place},
        {"eager": plain},
        {},
        lambda: step(*(t.double() for t in given)),
    )


def leaderboard(folder: Path, op: str, machine: Machine) -> Path:
    """The file of an op on a processor, and GPU where there is one."""
    name = " ".join([machine.processor, *machine.gpus[:1]])
    return folder / op / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.jsonl"

"""The error of what is about to be timed: against the float64 reference, and of the face against its peer."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genfuse import Sampler
from genfuse.ops import sampler_step_
from genfuse.samplers.sampler import as_seeds
from genfuse_bench.peers import Peer
from genfuse_bench.solvers import Solver
from genfuse_bench.trajectories import Scheduler, face, make_sampler
from genfuse_kernels.sampler_step import reference
from genfuse_kernels.sampler_step.row import COLUMN, TERMS, Y
from genfuse_kernels.sampler_step.spec import tolerance

FACE_TOLERANCE = 1e-5
"""Relative, in float64: diffusers computes its coefficients in float32."""


@dataclass(frozen=True)
class Accuracy:
    """An error and what it may be at most, both relative."""

    error: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether a speed may be reported."""
        return self.error <= self.tolerance  # false for NaN

    def __str__(self) -> str:
        return f"error {self.error:.1e}, tolerance {self.tolerance:.1e}"


def step_accuracy(solver: Solver, x: Tensor, model_output: Tensor, row: int) -> Accuracy:
    """Row `row` of the step object, history filled by the rows before, relative to `reference.magnitude`.

    Only the first and the last sample of the batch are held against the reference: a sample depends on
    nothing but itself.
    """
    sampler = make_sampler(solver)
    y, history = _replay(sampler, x, model_output, row)
    ends = slice(None, None, max(x.shape[0] - 1, 1))
    exact: dict[str, Any] = {
        "x": y[ends].double().cpu(),
        "model_output": model_output[ends].double().cpu(),
        "table": sampler.table.rows,
        "index": row,
        "history": () if history is None else history[:, ends].double().cpu(),
        "seeds": as_seeds(0, x.shape[0], torch.device("cpu"))[ends],
    }
    expected, magnitude = reference.sampler_step(**exact)[0], reference.magnitude(**exact)[0]
    got = _run(sampler, x, model_output, row)[ends].double().cpu()
    relative, absolute = tolerance(x.dtype, terms(sampler.table.rows[row]))
    error = ((got - expected).abs() - absolute).clamp(min=0) / magnitude.clamp(
        min=torch.finfo(torch.float64).tiny
    )
    return Accuracy(float(error.max()), relative)


def face_accuracy(solver: Solver, peer: Peer, x: Tensor, model_output: Tensor, row: int) -> Accuracy:
    """The face's sample after row `row` against the peer's, in float64, noise from the same generator."""
    first, output = x[:1].double(), model_output[:1].double()
    runs = face(solver, first, output), peer.trajectory(solver, first, output)
    got, expected = (_end(run, row) for run in runs)
    return Accuracy(float((got - expected).abs().max() / expected.abs().max()), FACE_TOLERANCE)


def _end(run: Scheduler, row: int) -> Tensor:
    if "generator" in inspect.signature(run.scheduler.step).parameters:
        run.arguments["generator"] = torch.Generator().manual_seed(0)
    run.begin()
    for i in range(row + 1):
        run.step(i)
    return run.sample


def _run(sampler: Sampler, x: Tensor, model_output: Tensor, row: int) -> Tensor:
    """The step object's sample after row `row`, as it is timed: in place."""
    y = x.clone()
    for i in range(row + 1):
        sampler.step(model_output, i, y, out=y)
    return y


def _replay(sampler: Sampler, x: Tensor, model_output: Tensor, row: int) -> tuple[Tensor, Tensor | None]:
    """The sample before row `row` and the history there, by the op itself."""
    slots = sampler.table.history_slots
    history = x.new_zeros((slots, *x.shape)) if slots else None
    dtype = torch.float64 if x.device.type == "cpu" or x.dtype == torch.float64 else torch.float32
    table, seeds = sampler.table.rows.to(x.device, dtype), as_seeds(0, x.shape[0], x.device)
    y = x.clone()
    for i in range(row):
        sampler_step_(y, model_output, table, i, out=y, history=history, seeds=seeds)
    return y, history


def terms(row: Tensor) -> int:
    """Products in a row's next sample: one a term, two more inside x0."""
    live = int((row[Y : Y + len(TERMS)] != 0).sum())
    return live + 2 * bool(row[COLUMN["y_x0"]] != 0)

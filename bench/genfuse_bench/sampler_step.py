"""The workload: one step of each solver, by step object and diffusers face, beside the peer and the floor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from genfuse_bench.accuracy import Accuracy, face_accuracy, step_accuracy
from genfuse_bench.measurement import Measurement, TimedRow
from genfuse_bench.peers import Peer
from genfuse_bench.solvers import TIMED, Solver
from genfuse_bench.timing import Effort, Trajectory, measure
from genfuse_bench.trajectories import Floor, StepObject, face, inputs

Shape = tuple[int, ...]

SHAPES: tuple[Shape, ...] = ((1, 3, 32, 32), (4, 4, 64, 64), (64, 3, 64, 64), (16, 3, 256, 256))
GRID: tuple[Shape, ...] = tuple((n, c, s, s) for n, c, s in product((1, 4, 64, 256), (3, 4), (32, 64, 128)))
GRID_SOLVERS = ("euler", "dpmpp_2m", "unipc", "ddpm")
GRID_TIMED = range(3, 7)
"""Fewer steps than `TIMED`: the grid has many shapes and asks only which side is faster."""

CHECKED = 5
"""The row whose error is measured before its speed: history is full, noise is there."""


@dataclass(frozen=True)
class StepRow(TimedRow):
    """A line of the table; times in µs, None where nothing may be reported."""

    op: str
    solver: str
    shape: Shape
    dtype: str
    threads: int
    device: str
    peer: str | None
    ours_us: float | None
    face_us: float | None
    peer_us: float | None
    floor_us: float | None
    ratio: float | None
    """peer_us / ours_us"""
    face_ratio: float | None
    floors: float | None
    """ours_us / floor_us"""
    fastest_us: dict[str, float] | None
    """first decile of ours, face, peer and floor: what a quieter machine would give"""
    error: float
    tolerance: float
    face_error: float | None
    face_tolerance: float | None

    @property
    def floor_bytes(self) -> int:
        """What the floor touches: three tensors."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return 3 * math.prod(self.shape) * dtype.itemsize

    @property
    def refused(self) -> str | None:
        """Why no speed is reported."""
        for name, error, tolerance in (
            ("step", self.error, self.tolerance),
            ("face", self.face_error, self.face_tolerance),
        ):
            if error is not None and tolerance is not None and not error <= tolerance:
                return f"{name}: {Accuracy(error, tolerance)}"
        return None


def step_rows(
    solvers: Iterable[Solver],
    shapes: Iterable[Shape],
    dtypes: Iterable[torch.dtype],
    device: torch.device,
    peer: Peer | None,
    effort: Effort,
    *,
    op: str = "sampler_step",
    timed: range = TIMED,
) -> Iterator[StepRow]:
    """A row a dtype, shape and solver, in that order."""
    for dtype, shape, solver in product(dtypes, shapes, solvers):
        x, model_output = inputs(shape, dtype, device)
        yield step_row(solver, x, model_output, peer, effort, op=op, timed=timed)


def step_row(
    solver: Solver,
    x: Tensor,
    model_output: Tensor,
    peer: Peer | None,
    effort: Effort,
    *,
    op: str = "sampler_step",
    timed: range = TIMED,
) -> StepRow:
    """Error first; then, where it is within its tolerance, speed."""
    step = step_accuracy(solver, x, model_output, CHECKED)
    against_peer = face_accuracy(solver, peer, x, model_output, CHECKED) if peer else None
    trusted = step.holds and (against_peer is None or against_peer.holds)
    measurement = _measure(solver, x, model_output, peer, effort, timed) if trusted else None
    us = measurement.us if measurement else {}
    return StepRow(
        op=op,
        solver=solver.sampler,
        shape=tuple(x.shape),
        dtype=str(x.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        device=str(x.device),
        peer=peer.name if peer else None,
        ours_us=us.get("ours"),
        face_us=us.get("face"),
        peer_us=us.get("peer"),
        floor_us=us.get("floor"),
        ratio=_quotient(us.get("peer"), us.get("ours")),
        face_ratio=_quotient(us.get("peer"), us.get("face")),
        floors=_quotient(us.get("ours"), us.get("floor")),
        fastest_us=measurement.fastest_us if measurement else None,
        error=step.error,
        tolerance=step.tolerance,
        face_error=against_peer.error if against_peer else None,
        face_tolerance=against_peer.tolerance if against_peer else None,
        timing=measurement.timing("ours") if measurement else None,
    )


def _measure(
    solver: Solver, x: Tensor, model_output: Tensor, peer: Peer | None, effort: Effort, timed: range
) -> Measurement:
    trajectories: dict[str, Trajectory] = {
        "floor": Floor(x, model_output),
        "ours": StepObject(solver, x, model_output),
        "face": face(solver, x, model_output),
    }
    if peer:
        trajectories["peer"] = peer.trajectory(solver, x, model_output)
    with torch.no_grad():
        return measure(trajectories, timed, x.device, effort)


def slowest(rows: Iterable[StepRow]) -> StepRow | None:
    """The row with the smallest ratio to its peer, object or face."""
    rated = [row for row in rows if row.ratio is not None]
    return min(rated, key=smallest_ratio, default=None)


def smallest_ratio(row: StepRow) -> float:
    """The smaller of both faces' ratios."""
    return min(row.ratio or math.inf, row.face_ratio or math.inf)


def _quotient(over: float | None, under: float | None) -> float | None:
    return None if over is None or under is None else over / under

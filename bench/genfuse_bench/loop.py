"""What a step of a whole loop costs beside the model: a free model, and the slope of time over steps."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import genfuse
from genfuse_bench.accuracy import Accuracy, terms
from genfuse_bench.largest_error import largest_error
from genfuse_bench.measurement import Measurement, TimedRow
from genfuse_bench.peers import Peer
from genfuse_bench.solvers import Solver
from genfuse_bench.timing import Call, Effort, Trajectory, measure
from genfuse_bench.trajectories import inputs, make_sampler
from genfuse_kernels.sampler_step.spec import tolerance

SHORT, LONG = 20, 220
"""Steps of the two loops whose difference is what steps cost; what a loop costs once falls out."""


@dataclass(frozen=True)
class LoopRow(TimedRow):
    """A loop's cost a step, µs, beside a model that costs nothing."""

    op: str
    solver: str
    shape: tuple[int, ...]
    dtype: str
    threads: int
    device: str
    peer: str | None
    ours_us: float | None
    peer_us: float | None
    ratio: float | None
    error: float
    """of a loop's samples against the reference's in float64, relative to the largest of them"""
    tolerance: float

    @property
    def refused(self) -> bool:
        """Whether the error forbids to report a speed."""
        return not self.error <= self.tolerance


def loop_row(
    solver: Solver,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    peer: Peer | None,
    effort: Effort,
) -> LoopRow:
    """`genfuse.sample` beside the loop that a diffusers pipeline runs."""
    x, model_output = inputs(shape, dtype, device)

    def free(x: Tensor, t: Tensor) -> Tensor:
        return model_output

    loops: dict[str, Trajectory] = {}
    for steps in (SHORT, LONG):
        loops[f"ours {steps}"] = Call(_our_loop(solver, steps, free, x))
        if peer:
            loops[f"peer {steps}"] = Call(_peer_loop(solver, steps, free, x, peer))
    with torch.no_grad():
        off = _accuracy(solver, x, model_output)
        taken = _slopes(measure(loops, range(1), device, effort))
    us = {who: each for who, each in taken.us.items() if each > 0}  # noise may turn a slope round
    ours, theirs = us.get("ours") if off.holds else None, us.get("peer")
    return LoopRow(
        op="sample",
        solver=solver.sampler,
        shape=shape,
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        device=str(device),
        peer=peer.name if peer else None,
        ours_us=ours,
        peer_us=theirs,
        ratio=theirs / ours if theirs and ours else None,
        error=off.error,
        tolerance=off.tolerance,
        timing=taken.only({who: who for who in us}).timing("ours" if ours else None) if us else None,
    )


def _our_loop(solver: Solver, steps: int, model: Callable[..., Tensor], x: Tensor) -> Callable[[], object]:
    sampler = make_sampler(solver, steps)
    shape, dtype, device = tuple(x.shape), x.dtype, x.device
    return lambda: genfuse.sample(model, shape, sampler=sampler, dtype=dtype, device=device)


def _peer_loop(
    solver: Solver, steps: int, model: Callable[..., Tensor], x: Tensor, peer: Peer
) -> Callable[[], object]:
    scheduler = peer.trajectory(solver, x, x).scheduler

    def loop() -> Tensor:
        scheduler.set_timesteps(steps, device=x.device)
        sample = x
        for t in scheduler.timesteps:
            model_output = model(scheduler.scale_model_input(sample, t), t)
            sample = scheduler.step(model_output, t, sample).prev_sample
        return sample

    return loop


def _accuracy(solver: Solver, x: Tensor, model_output: Tensor) -> Accuracy:
    """Of the shorter loop, two samples of it: each depends on its own seed alone."""
    sampler = make_sampler(solver, SHORT)
    shape, few = (min(x.shape[0], 2), *x.shape[1:]), model_output[:2]
    got: Any = genfuse.sample(lambda x, t: few, shape, sampler=sampler, dtype=x.dtype, device=x.device)
    exact = few.double().cpu()
    with genfuse.backend("reference"):
        want: Any = genfuse.sample(lambda x, t: exact, shape, sampler=sampler, dtype=torch.float64)
    relative = max(tolerance(x.dtype, terms(row))[0] for row in sampler.table.rows)
    return Accuracy(largest_error([got.cpu()], [want]), SHORT * relative)


def _slopes(taken: Measurement) -> Measurement:
    """What a step costs, from round to round."""
    steps = LONG - SHORT
    long = {name.split()[0]: each for name, each in taken.rounds_us.items() if name.endswith(f" {LONG}")}
    rounds = {
        who: [(b - a) / steps for a, b in zip(taken.rounds_us[f"{who} {SHORT}"], each, strict=True)]
        for who, each in long.items()
    }
    return replace(taken, rounds_us=rounds, us={who: statistics.median(each) for who, each in rounds.items()})

"""What a step of a whole loop costs beside the model: a free model, and the slope of time over steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import genfuse
from genfuse_bench.peers import Peer
from genfuse_bench.solvers import Solver
from genfuse_bench.timing import Call, Effort, Measurement, Trajectory, measure
from genfuse_bench.trajectories import inputs, make_sampler

SHORT, LONG = 20, 220
"""Steps of the two loops whose difference is what steps cost; what a loop costs once falls out."""


@dataclass(frozen=True)
class LoopRow:
    """A loop's cost a step, µs, beside a model that costs nothing."""

    op: str
    solver: str
    shape: tuple[int, ...]
    dtype: str
    threads: int
    device: str
    peer: str | None
    ours_us: float
    peer_us: float | None
    ratio: float | None
    windows: int
    dropped: int
    contended: bool


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
        measurement = measure(loops, range(1), device, effort)
    ours, theirs = _slope(measurement, "ours"), _slope(measurement, "peer") if peer else None
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
        ratio=theirs / ours if theirs else None,
        windows=measurement.windows,
        dropped=measurement.dropped,
        contended=measurement.contended,
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


def _slope(measurement: Measurement, name: str) -> float:
    return (measurement.us[f"{name} {LONG}"] - measurement.us[f"{name} {SHORT}"]) / (LONG - SHORT)

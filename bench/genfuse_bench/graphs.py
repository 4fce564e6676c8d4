"""Into how many graphs torch.compile breaks a sampling loop; reported, not timed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from genfuse_bench.peers import Peer
from genfuse_bench.solvers import Solver
from genfuse_bench.trajectories import inputs, make_sampler

ROWS = 5
"""Rows of the loop that is compiled: dynamo unrolls it."""


@dataclass(frozen=True)
class GraphRow:
    """Graphs and breaks of one competitor's loop of `rows` steps; or the error that compiling it raised."""

    op: str
    solver: str
    who: str
    rows: int
    graphs: int | None
    breaks: int | None
    fullgraph: bool
    """torch.compile(fullgraph=True) passes"""
    error: str | None


def graph_rows(solver: Solver, peer: Peer | None) -> list[GraphRow]:
    """Our loop, and the peer's."""
    x, model_output = inputs((1, 4, 8, 8), torch.float32, torch.device("cpu"))
    sampler = make_sampler(solver, ROWS)
    sampler.step(model_output, 0, x)  # seeds and tables exist; a loop begins by making them
    sampler.reset()

    def ours(x: Tensor) -> Tensor:
        for i in range(ROWS):
            x = sampler.step(x * 0.5, i, x)
        return x

    loops: dict[str, Callable[[Tensor], Tensor]] = {"ours": ours}
    if peer:
        scheduler = peer.trajectory(solver, x, model_output).scheduler
        scheduler.set_timesteps(ROWS)
        scheduler.scale_model_input(x, scheduler.timesteps[0])  # else diffusers warns at every step

        def theirs(x: Tensor) -> Tensor:
            for t in scheduler.timesteps:
                x = scheduler.step(x * 0.5, t, x).prev_sample
            return x

        loops[peer.name] = theirs
    return [_graph_row(solver, who, loop, x) for who, loop in loops.items()]


def _graph_row(solver: Solver, who: str, loop: Callable[[Tensor], Tensor], x: Tensor) -> GraphRow:
    graphs = breaks = None
    error: str | None = None
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)  # breaks are counted here, not printed
    with torch.no_grad():
        try:
            explained = torch._dynamo.explain(loop)(x)
            graphs, breaks = explained.graph_count, explained.graph_break_count
        except Exception as raised:  # a compiler may raise anything; what it raised is the result
            error = _first_line(raised)
        whole = graphs == 1 and _compiles_whole(loop, x)
    return GraphRow("graphs", solver.sampler, who, ROWS, graphs, breaks, whole, error)


def _compiles_whole(loop: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    torch._dynamo.reset()
    try:
        torch.compile(loop, backend="eager", fullgraph=True)(x)
    except Exception:  # as above: it does not compile
        return False
    finally:
        torch._dynamo.reset()
    return True


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"[:200]

"""What genfuse is measured beside: one small class a library."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from torch import Tensor

from genfuse import env
from genfuse_bench.solvers import Solver
from genfuse_bench.trajectories import Scheduler


class Peer(Protocol):
    """A library that samples too."""

    name: str

    def missing(self) -> str | None:
        """Why it cannot be measured here; None where it can."""

    def trajectory(self, solver: Solver, x: Tensor, model_output: Tensor, **arguments: Any) -> Scheduler:
        """Its run of the solver with a fixed model output."""


class Diffusers:
    """Hugging Face diffusers' schedulers."""

    name = "diffusers"

    def missing(self) -> str | None:
        """Not installed?"""
        return (
            None if env.version(self.name) else f"{self.name} is not installed; pip install 'genfuse[bench]'"
        )

    def trajectory(self, solver: Solver, x: Tensor, model_output: Tensor, **arguments: Any) -> Scheduler:
        """The class of the solver, at the same configuration."""
        scheduler = getattr(importlib.import_module("diffusers"), solver.scheduler)(**solver.config)
        return Scheduler(scheduler, x, model_output, **arguments)


PEERS: dict[str, Peer] = {peer.name: peer for peer in (Diffusers(),)}

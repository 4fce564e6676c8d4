"""genfuse's own competitors, and the floor: runs of steps with a fixed model output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfuse import Sampler, schedulers
from genfuse_bench.solvers import STEPS, Solver


def inputs(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """(sample, model output), standard normal, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    x, model_output = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
    return x, model_output


class Floor:
    """One pass that reads two tensors and writes a third, which is the least that a step out of place does.

    Its working set is those three tensors, as `StepObject`'s is for a solver without history: a step in place
    touches two, and may be faster where three no longer fit into a cache.
    """

    def __init__(self, x: Tensor, model_output: Tensor) -> None:
        self._x, self._model_output, self._y = x, model_output, torch.empty_like(x)

    def begin(self) -> None:
        """Nothing to go back to."""

    def step(self, i: int) -> None:
        """Add."""
        torch.add(self._x, self._model_output, out=self._y)


class StepObject:
    """`genfuse.Sampler`, a step at a time, from one of two buffers into the other as the floor goes."""

    def __init__(self, solver: Solver, x: Tensor, model_output: Tensor) -> None:
        self.sampler = make_sampler(solver)
        self._start, self._model_output, self._x = x, model_output, x.clone()
        self._next = torch.empty_like(x)

    def begin(self) -> None:
        """Forget the history; the sample back to the start."""
        self.sampler.reset()
        self._x.copy_(self._start)

    def step(self, i: int) -> None:
        """One row of the table; the next sample takes the last one's place."""
        self.sampler.step(self._model_output, i, self._x, out=self._next)
        self._x, self._next = self._next, self._x

    @property
    def device_tensors(self) -> list[Tensor]:
        """What would live on a GPU."""
        return [self._x, self._next, self._model_output]


class Scheduler:
    """A scheduler with diffusers' interface, as a pipeline drives it (`scale_model_input` not timed)."""

    def __init__(self, scheduler: Any, x: Tensor, model_output: Tensor, **arguments: Any) -> None:
        self.scheduler = scheduler
        self._start, self._model_output, self._x = x, model_output, x
        self.arguments = arguments

    def begin(self) -> None:
        """`set_timesteps`, and the sample back to the start."""
        self.scheduler.set_timesteps(STEPS, device=self._start.device)
        self._timesteps = list(self.scheduler.timesteps)
        self._x = self._start * float(self.scheduler.init_noise_sigma)
        self.scheduler.scale_model_input(self._x, self._timesteps[0])  # else diffusers warns at every step

    def step(self, i: int) -> None:
        """scheduler.step; the next sample replaces the last."""
        self._x = self.scheduler.step(
            self._model_output, self._timesteps[i], self._x, **self.arguments
        ).prev_sample

    @property
    def sample(self) -> Tensor:
        """Where the trajectory is."""
        return self._x

    @property
    def device_tensors(self) -> list[Tensor]:
        """What would live on a GPU: sample, model output, timesteps."""
        return [self._x, self._model_output, self.scheduler.timesteps, *self._timesteps]


def make_sampler(solver: Solver, steps: int = STEPS) -> Sampler:
    """The step object of a solver, seeds 0, 1, ..."""
    return Sampler(solver.sampler, steps, clip=solver.clip, seeds=0)


def face(solver: Solver, x: Tensor, model_output: Tensor, **arguments: Any) -> Scheduler:
    """genfuse's class with diffusers' name and interface."""
    return Scheduler(getattr(schedulers, solver.scheduler)(**solver.config), x, model_output, **arguments)

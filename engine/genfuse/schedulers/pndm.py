"""PNDMScheduler behind diffusers' interface."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.grid import Grid
from genfuse.samplers.pndm import Hop, multistep_table, runge_kutta_table
from genfuse.samplers.spacing import SPACINGS, spaced_timesteps
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.ddim import StridedScheduler
from genfuse.schedulers.output import SchedulerOutput

Array = NDArray[np.float64]


class PNDMScheduler(StridedScheduler):
    """Liu et al. 2022, arguments as diffusers' class; see `genfuse.samplers.pndm`.

    A run that begins in the middle (image to image) is diffusers' own: its second call takes the first step
    again, so that every later one is given a time one step below the sample's level. The Runge-Kutta start
    cannot begin there; skip_prk_steps=True can. Where the caller changes the sample inside a step of several calls,
    diffusers goes on from the sample that the step began with, here from the one given, less what was added.
    """

    _gives_original = False

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: NDArray[np.floating] | Sequence[float] | None = None,
        skip_prk_steps: bool = False,
        set_alpha_to_one: bool = False,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "leading",
        steps_offset: int = 0,
    ) -> None:
        check_name("timestep_spacing", timestep_spacing, SPACINGS)
        self._set_strided_schedule(set_alpha_to_one)
        self._stride = 1
        times = np.arange(len(self._schedule))[::-1].astype(np.float64)
        self._set_rows(times, times, times - 1, None)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """One time a call: the first steps take more than one.

        ValueError for fewer than 4 steps with the Runge-Kutta start, or more than training has.
        """
        config = self.config
        times = spaced_timesteps(
            config.timestep_spacing,
            num_inference_steps,
            config.num_train_timesteps,
            steps_offset=config.steps_offset,
        )
        if not config.skip_prk_steps and num_inference_steps < 4:
            raise ValueError(
                f"num_inference_steps is {num_inference_steps}, expected at least 4: the Runge-Kutta start "
                "takes three; skip_prk_steps=True does without"
            )
        self._stride = config.num_train_timesteps // num_inference_steps
        self.num_inference_steps = num_inference_steps
        if config.skip_prk_steps:
            times = np.concatenate([times[:1], times[1:2], times[1:]])
            self._set_rows(times, times, times - self._stride, device)
        else:
            self._set_rows(*_runge_kutta_rows(times, self._stride), device)

    def _set_rows(
        self, times: Array, start: Array, landing: Array, device: str | torch.device | None
    ) -> None:
        """One hop a row, from the level at `start` to the level at `landing`."""
        self._hops = self._hops_between(times, start, landing)
        self._set_nodes(Grid(times, *self._level(start)), times.astype(np.int64), device=device)

    def _hops_between(self, times: Array, start: Array, landing: Array) -> list[Hop]:
        levels = (*self._level(start), *self._level(landing))
        return [Hop(*row) for row in zip(times, *levels, strict=True)]

    def _table(self, begin: int, *options: Any) -> Table:
        kind = self.config.prediction_type
        if self.config.skip_prk_steps:
            # the second row takes the first one's step again: from a stride above its time, to it
            again = self._grid.timesteps[begin + 1 : begin + 2]
            hops = list(self._hops)
            hops[begin + 1 : begin + 2] = self._hops_between(again, again + self._stride, again)
            return multistep_table(hops, kind, begin=begin)
        if begin:
            raise ValueError(
                f"the first timestep is number {begin}, expected 0: the Runge-Kutta start cannot begin in "
                "the middle; skip_prk_steps=True can"
            )
        return runge_kutta_table(self._hops, kind)

    def step(
        self, model_output: Tensor, timestep: Timestep, sample: Tensor, return_dict: bool = True
    ) -> SchedulerOutput:
        """One model call; see `timesteps`."""
        return self._step(model_output, timestep, sample)


def _runge_kutta_rows(times: Array, stride: int) -> tuple[Array, Array, Array]:
    """(times, start, landing) of each row: three steps of four calls (t, twice half way, the next), the rest."""
    half = stride // 2
    rows, start, landing = [], [], []
    for now, after in pairwise(times[:4]):
        rows += [now, after + half, after + half, after]
        start += [now] * 4
        landing += [now - half, after + half, after, after]
    rest = times[3:]
    return (
        np.concatenate([rows, rest]),
        np.concatenate([start, rest]),
        np.concatenate([landing, rest - stride]),
    )

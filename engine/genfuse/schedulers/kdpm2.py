"""KDPM2DiscreteScheduler and KDPM2AncestralDiscreteScheduler behind diffusers' interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.dpm2 import dpm2, dpm2_ancestral, middle_ratios, middle_times
from genfuse.samplers.prediction import PREDICTION_TYPES
from genfuse.samplers.spacing import SPACINGS, sigma_grid
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Generators, Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.discrete import DiscreteScheduler
from genfuse.schedulers.output import SchedulerOutput


class KDPM2DiscreteScheduler(DiscreteScheduler):
    """The midpoint method in log sigma, arguments as diffusers' class; see `genfuse.samplers.dpm2`.

    `timesteps` are float32 in every spacing, and `sigmas` has one entry a row and the last: diffusers' has two
    more that no step reads.
    """

    order = 2
    _is_ancestral: ClassVar[bool] = False

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "linear",
        trained_betas: NDArray[np.floating] | Sequence[float] | None = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ) -> None:
        check_name("prediction_type", prediction_type, PREDICTION_TYPES)
        check_name("timestep_spacing", timestep_spacing, SPACINGS)
        self._set_sigma_schedule()

    def set_timesteps(
        self,
        num_inference_steps: int,
        device: str | torch.device | None = None,
        num_train_timesteps: int | None = None,
    ) -> None:
        """Times of `timestep_spacing`, each step's middle between two of them."""
        self._check_train_timesteps(num_train_timesteps)
        sigmas, times = self._nodes(self._schedule, self._training_timesteps(num_inference_steps, None))
        if self._sigma_kind() == "karras":
            times = times.round()
        sigmas = np.append(sigmas, 0.0).astype(np.float32).astype(np.float64)
        grid = sigma_grid(sigmas, timesteps=times, coordinates="ve")
        middles = middle_ratios(grid, is_ancestral=self._is_ancestral)
        self._set_levels(
            sigmas,
            times,
            second_sigmas=middles,
            second_times=middle_times(middles, self._schedule),
            device=device,
        )

    def _table(self, begin: int, *options: Any) -> Table:
        build = dpm2_ancestral if self._is_ancestral else dpm2
        return build(self._grid, self.config.prediction_type, schedule=self._schedule, begin=begin)

    def step(
        self, model_output: Tensor, timestep: Timestep, sample: Tensor, return_dict: bool = True
    ) -> SchedulerOutput:
        """One of the two model calls of a step; see `timesteps`."""
        return self._step(model_output, timestep, sample)


class KDPM2AncestralDiscreteScheduler(KDPM2DiscreteScheduler):
    """The midpoint method with fresh noise each step, arguments as diffusers' class."""

    _is_ancestral = True

    def _draw_rows(self, table: Table) -> list[bool]:
        return [bool(row % 2) for row in range(len(table))]

    def step(  # type: ignore[override]
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        generator: Generators | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """One of the two model calls of a step; the second adds noise, generator's or the fused one."""
        return self._step(model_output, timestep, sample, generator=generator)

"""HeunDiscreteScheduler behind diffusers' interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.heun import heun
from genfuse.samplers.prediction import PREDICTION_TYPES
from genfuse.samplers.spacing import SPACINGS
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.discrete import DiscreteScheduler
from genfuse.schedulers.output import SchedulerOutput


class HeunDiscreteScheduler(DiscreteScheduler):
    """Heun's method (Karras et al. 2022), arguments as diffusers' class; see `genfuse.samplers.heun`.

    As there, a step's second call starts from the sample that the first was given, whatever it is given itself.
    """

    order = 2

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "linear",
        trained_betas: NDArray[np.floating] | Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        clip_sample: bool | None = False,
        clip_sample_range: float = 1.0,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ) -> None:
        check_name("prediction_type", prediction_type, PREDICTION_TYPES)
        check_name("timestep_spacing", timestep_spacing, SPACINGS)
        self._set_sigma_schedule()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        num_train_timesteps: int | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Exactly one of a number of steps and descending times; each time but the first comes twice."""
        self._check_train_timesteps(num_train_timesteps)
        nodes = self._training_timesteps(num_inference_steps, timesteps)
        sigmas, times = self._nodes(self._schedule, nodes)
        self._set_levels(
            np.append(sigmas, 0.0), times, second_sigmas=sigmas[1:], second_times=times[1:], device=device
        )

    def _table(self, begin: int, *options: Any) -> Table:
        return heun(self._grid, self.config.prediction_type, clip=self._clip(), begin=begin)

    def step(
        self, model_output: Tensor, timestep: Timestep, sample: Tensor, return_dict: bool = True
    ) -> SchedulerOutput:
        """One of the two model calls of a step; see `timesteps`."""
        return self._step(model_output, timestep, sample)

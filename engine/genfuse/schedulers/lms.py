"""LMSDiscreteScheduler behind diffusers' interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.lms import lms
from genfuse.samplers.prediction import PREDICTION_TYPES
from genfuse.samplers.spacing import SPACINGS
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.discrete import DiscreteScheduler
from genfuse.schedulers.output import SchedulerOutput


class LMSDiscreteScheduler(DiscreteScheduler):
    """Linear multistep (k-diffusion), arguments as diffusers' class; see `genfuse.samplers.lms`.

    A run that begins in the middle (image to image) is diffusers' own: its first steps weigh their slopes as if
    the nodes before had slopes too, and miss those.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
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

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Times of `timestep_spacing` or of the sigmas. ValueError for more steps than training has."""
        sigmas, times = self._nodes(self._schedule, self._training_timesteps(num_inference_steps, None))
        self._set_levels(np.append(sigmas, 0.0), times, device=device)

    def _table(self, begin: int, *options: Any) -> Table:
        (order,) = options
        return lms(self._grid, self.config.prediction_type, order=order, begin=begin, truncated=True)

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        order: int = 4,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """One step from the last `order` slopes, 1 to 5."""
        return self._step(model_output, timestep, sample, options=(order,))

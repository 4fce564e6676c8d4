"""DDPMScheduler: ancestral sampling behind diffusers' interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.ddpm import VarianceType, ddpm
from genfuse.samplers.prediction import PREDICTION_TYPES
from genfuse.samplers.schedule import noise_schedule
from genfuse.samplers.spacing import SPACINGS, custom_timesteps, spaced_timesteps, timestep_grid
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Generators, Scheduler, Timestep, check_tensors
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.output import SchedulerOutput

VARIANCES: dict[str, VarianceType] = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "fixed_large_log": "fixed_large",
    "learned": "learned",
    "learned_range": "learned_range",
}
"""diffusers' names; those that differ in how the variance is computed, not in its value, share a row."""


class DDPMScheduler(Scheduler):
    """Ho et al. 2020, arguments as diffusers' class; see `genfuse.samplers.ddpm`.

    Epsilon prediction at a node without signal (zero terminal SNR) has no x0 and is refused there, also with
    clip_sample, where diffusers clips an infinite x0 to its sign.
    """

    _one_step = True

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: NDArray[np.floating] | Sequence[float] | None = None,
        variance_type: str = "fixed_small",
        clip_sample: bool = True,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        self.variance_type = check_name("variance_type", variance_type, VARIANCES)
        check_name("prediction_type", prediction_type, PREDICTION_TYPES)
        check_name("timestep_spacing", timestep_spacing, SPACINGS)
        schedule = noise_schedule(
            beta_schedule,
            num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            trained_betas=trained_betas,
            rescale_betas_zero_snr=rescale_betas_zero_snr,
            precision="float32",
        )
        self._set_schedule(schedule)
        self._set_times(np.arange(len(schedule))[::-1].astype(np.float64), None)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Exactly one of a number of steps and descending training times. ValueError otherwise."""
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError(
                f"num_inference_steps is {num_inference_steps} and timesteps is {timesteps}, "
                "expected exactly one of them"
            )
        config = self.config
        if timesteps is not None:
            times = custom_timesteps(timesteps, config.num_train_timesteps)
        else:
            assert num_inference_steps is not None
            times = spaced_timesteps(
                config.timestep_spacing,
                num_inference_steps,
                config.num_train_timesteps,
                steps_offset=config.steps_offset,
            )
        self.num_inference_steps = len(times)
        self._set_times(times, device)

    def _set_times(self, times: NDArray[np.float64], device: str | torch.device | None) -> None:
        self._set_nodes(timestep_grid(self._schedule, times), times.astype(np.int64), device=device)

    def _table(self, begin: int, *options: Any) -> Table:
        (variance_type,) = options
        return ddpm(
            self._grid,
            self.config.prediction_type,
            clip=self._clip(),
            variance_type=VARIANCES[variance_type],
            final_noise=True,
            begin=begin,
        )

    def _draw_rows(self, table: Table) -> list[bool]:
        return [bool(time > 0) for time in table.timesteps]

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        generator: Generators | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """One ancestral step; sample (N, C, ...), model_output like it, or (N, 2C, ...) with its variance.

        generator draws torch's noise, as diffusers; without it the noise is fused into the step.
        """
        check_tensors(model_output, sample)
        if self.num_inference_steps is None:
            self.num_inference_steps = len(
                self._values
            )  # every training step, as diffusers has it from the start
        variance = None
        if self.variance_type in ("learned", "learned_range"):
            channels = sample.shape[1]
            if model_output.shape[1] != 2 * channels:
                raise ValueError(
                    f"model_output has {model_output.shape[1]} channels, expected {2 * channels}: the "
                    f"second half is the variance, as variance_type {self.variance_type!r} says"
                )
            model_output, variance = model_output[:, :channels], model_output[:, channels:]
            if self.variance_type == "learned":
                variance = variance.log()
        options = (self.variance_type,)
        return self._step(
            model_output, timestep, sample, generator=generator, variance=variance, options=options
        )

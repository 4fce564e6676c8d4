"""EulerDiscreteScheduler and EulerAncestralDiscreteScheduler behind diffusers' interface."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.euler import euler, euler_ancestral
from genfuse.samplers.prediction import PREDICTION_TYPES
from genfuse.samplers.sigmas import sigma_to_t
from genfuse.samplers.spacing import SPACINGS, check_steps, custom_sigmas
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Generators, Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.discrete import DiscreteScheduler
from genfuse.schedulers.nodes import second_output_rows
from genfuse.schedulers.output import SchedulerOutput

Array = NDArray[np.float64]


class EulerDiscreteScheduler(DiscreteScheduler):
    """Euler's method with churn (Karras et al. 2022), arguments as diffusers' class."""

    _one_step = True

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: NDArray[np.floating] | Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        interpolation_type: str = "linear",
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        timestep_spacing: str = "linspace",
        timestep_type: str = "discrete",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        final_sigmas_type: str = "zero",
    ) -> None:
        check_name("prediction_type", prediction_type, (*PREDICTION_TYPES, "original_sample"))
        check_name("interpolation_type", interpolation_type, ("linear", "log_linear"))
        check_name("timestep_spacing", timestep_spacing, SPACINGS)
        check_name("timestep_type", timestep_type, ("discrete", "continuous"))
        check_name("final_sigmas_type", final_sigmas_type, ("zero", "sigma_min"))
        self._set_sigma_schedule()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Exactly one of a number of steps, descending times, or descending sigmas with the final one."""
        if sigmas is None:
            self._set_levels(*self._levels_of(num_inference_steps, timesteps), device=device)
            return
        if num_inference_steps is not None or timesteps is not None:
            raise ValueError(
                "sigmas is given beside num_inference_steps or timesteps, expected exactly one of them"
            )
        levels = custom_sigmas(sigmas).astype(np.float32).astype(np.float64)
        self._set_levels(levels, sigma_to_t(levels[:-1], self._schedule.log_sigmas), device=device)

    def _levels_of(self, steps: int | None, timesteps: Sequence[float] | None) -> tuple[Array, Array]:
        """(sigmas (n + 1,), times (n,)) of the configuration."""
        config, schedule = self.config, self._schedule
        if timesteps is not None and self._continuous:
            raise ValueError(
                "timesteps is given, expected None: timestep_type is 'continuous' with v_prediction"
            )
        times = self._training_timesteps(steps, timesteps)
        check_steps(len(times), config.num_train_timesteps)
        if self._log_linear:
            first, last = (math.log(schedule.sigmas[i]) for i in (-1, 0))
            return torch.linspace(first, last, len(times) + 1, device="cpu").exp().double().numpy(), times
        if config.interpolation_type == "log_linear":
            ends = np.array([0.0, len(schedule) - 1.0])[::-1]
            sigmas, times = self._nodes(schedule, np.interp(np.linspace(0, 1, len(times)), [0, 1], ends))
        else:
            sigmas, times = self._nodes(schedule, times)
        final = 0.0 if config.final_sigmas_type == "zero" else float(schedule.sigmas[0])
        return np.append(sigmas, final), times

    @property
    def _log_linear(self) -> bool:
        """Whether sigmas are even in their logarithm; diffusers has one more of them, and churns by their count."""
        return bool(self.config.interpolation_type == "log_linear" and self._sigma_kind() is None)

    @property
    def _continuous(self) -> bool:
        return bool(
            self.config.timestep_type == "continuous" and self.config.prediction_type == "v_prediction"
        )

    def _public_times(self, sigmas: Array, times: Array) -> Array:
        return 0.25 * np.log(sigmas[:-1]) if self._continuous else times

    def _kind(self) -> Any:
        kind = self.config.prediction_type
        return "sample" if kind == "original_sample" else kind

    def _table(self, begin: int, *options: Any) -> Table:
        s_churn, s_tmin, s_tmax, s_noise = options
        steps = len(self._grid)
        return euler(
            self._grid,
            self._kind(),
            s_churn=s_churn * steps / (steps + 1) if self._log_linear else s_churn,
            s_tmin=s_tmin,
            s_tmax=s_tmax,
            s_noise=s_noise,
            begin=begin,
        )

    def _original_rows(self, table: Table, *options: Any) -> Tensor:
        return second_output_rows(table)

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = math.inf,
        s_noise: float = 1.0,
        generator: Generators | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """One Euler step; s_churn > 0 adds noise, what generator draws or the fused one."""
        self._reject_whole(timestep)
        options = (s_churn, s_tmin, s_tmax, s_noise)
        return self._step(model_output, timestep, sample, generator=generator, options=options)


class EulerAncestralDiscreteScheduler(DiscreteScheduler):
    """Euler's method with fresh noise each step (k-diffusion), arguments as diffusers' class."""

    _one_step = True

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: NDArray[np.floating] | Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        check_name("prediction_type", prediction_type, PREDICTION_TYPES)
        check_name("timestep_spacing", timestep_spacing, SPACINGS)
        self._set_sigma_schedule()

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Times of `timestep_spacing`. ValueError for more steps than training has."""
        sigmas, times = self._nodes(self._schedule, self._training_timesteps(num_inference_steps, None))
        self._set_levels(np.append(sigmas, 0.0), times, device=device)

    def _table(self, begin: int, *options: Any) -> Table:
        return euler_ancestral(self._grid, self.config.prediction_type, begin=begin)

    def _draw_rows(self, table: Table) -> list[bool]:
        return [True] * len(table)

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        generator: Generators | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """One Euler step down and the noise back up: what generator draws, or the fused one."""
        self._reject_whole(timestep)
        return self._step(model_output, timestep, sample, generator=generator)

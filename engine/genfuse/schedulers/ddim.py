"""DDIMScheduler and DDIMInverseScheduler behind diffusers' interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.ddim import ddim
from genfuse.samplers.grid import Grid
from genfuse.samplers.prediction import PREDICTION_TYPES
from genfuse.samplers.schedule import noise_schedule
from genfuse.samplers.spacing import SPACINGS, spaced_timesteps
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Generators, Scheduler, Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.output import SchedulerOutput

Array = NDArray[np.float64]


class StridedScheduler(Scheduler):
    """Steps of num_train_timesteps // num_inference_steps from each time, whatever the next one is."""

    final_alpha_cumprod: Tensor

    def _set_strided_schedule(self, set_alpha_to_one: bool, rescale_betas_zero_snr: bool = False) -> None:
        config = self.config
        check_name("prediction_type", config.prediction_type, PREDICTION_TYPES)
        schedule = noise_schedule(
            config.beta_schedule,
            config.num_train_timesteps,
            beta_start=config.beta_start,
            beta_end=config.beta_end,
            trained_betas=config.trained_betas,
            rescale_betas_zero_snr=rescale_betas_zero_snr,
            precision="float32",
        )
        self._set_schedule(schedule)
        self._final = 1.0 if set_alpha_to_one else float(schedule.alphas_cumprod[0])
        self.final_alpha_cumprod = torch.tensor(self._final, device="cpu")

    def _level(self, times: Array) -> tuple[Array, Array]:
        """(alpha, sigma) at whole training times; below 0 the final level."""
        inside = np.clip(times, 0, len(self._schedule) - 1).astype(np.int64)
        signal = np.where(times >= 0, self._schedule.alphas_cumprod[inside], self._final)
        return np.sqrt(signal), np.sqrt(1 - signal)


class DDIMScheduler(StridedScheduler):
    """Song et al. 2021, arguments as diffusers' class; see `genfuse.samplers.ddim`.

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
        clip_sample: bool = True,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        check_name("timestep_spacing", timestep_spacing, SPACINGS)
        self._set_strided_schedule(set_alpha_to_one, rescale_betas_zero_snr)
        self._set_times(np.arange(len(self._schedule))[::-1].astype(np.float64), 1, None)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Descending times of `timestep_spacing`. ValueError for more steps than training has."""
        config = self.config
        times = spaced_timesteps(
            config.timestep_spacing,
            num_inference_steps,
            config.num_train_timesteps,
            steps_offset=config.steps_offset,
        )
        self.num_inference_steps = num_inference_steps
        self._set_times(times, config.num_train_timesteps // num_inference_steps, device)

    def _set_times(self, times: Array, stride: int, device: str | torch.device | None) -> None:
        alpha, sigma = self._level(np.append(times, -1.0))
        self._landing = self._level(times - stride)
        self._set_nodes(Grid(times, alpha, sigma), times.astype(np.int64), device=device)

    def _table(self, begin: int, *options: Any) -> Table:
        eta, use_clipped_model_output = options
        return ddim(
            self._grid,
            self.config.prediction_type,
            clip=self._clip(),
            eta=eta,
            use_clipped_model_output=use_clipped_model_output,
            landing=self._landing,
            begin=begin,
        )

    def _draw_rows(self, table: Table) -> list[bool]:
        return [table.stochastic] * len(table)

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        generator: Generators | None = None,
        variance_noise: Tensor | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """One DDIM step; eta > 0 adds noise: variance_noise (N, ...), what generator draws, or the fused one.

        ValueError for both generator and variance_noise.
        """
        if generator is not None and variance_noise is not None:
            raise ValueError("generator and variance_noise are both given, expected at most one of them")
        options = (float(eta), bool(use_clipped_model_output))
        return self._step(
            model_output, timestep, sample, generator=generator, noise=variance_noise, options=options
        )


class DDIMInverseScheduler(StridedScheduler):
    """DDIM from the data to the noise (Mokady et al. 2023), arguments as diffusers' class."""

    _one_step = True

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: NDArray[np.floating] | Sequence[float] | None = None,
        clip_sample: bool = True,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        clip_sample_range: float = 1.0,
        timestep_spacing: str = "leading",
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        check_name("timestep_spacing", timestep_spacing, ("leading", "trailing"))
        self._set_strided_schedule(set_alpha_to_one, rescale_betas_zero_snr)
        self.initial_alpha_cumprod = self.final_alpha_cumprod
        self._set_times(np.arange(len(self._schedule)).astype(np.float64), 1, None)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Ascending times of `timestep_spacing`. ValueError for more steps than training has."""
        config = self.config
        times = spaced_timesteps(
            config.timestep_spacing,
            num_inference_steps,
            config.num_train_timesteps,
            steps_offset=config.steps_offset,
        )
        self.num_inference_steps = num_inference_steps
        self._set_times(times[::-1], config.num_train_timesteps // num_inference_steps, device)

    def _set_times(self, times: Array, stride: int, device: str | torch.device | None) -> None:
        # each step starts one stride below the time that the model is given, and lands on it
        alpha, sigma = self._level(np.append(times - stride, times[-1]))
        self._landing = self._level(times)
        self._set_nodes(Grid(times, alpha, sigma), times.astype(np.int64), device=device)

    def _table(self, begin: int, *options: Any) -> Table:
        return ddim(
            self._grid, self.config.prediction_type, clip=self._clip(), landing=self._landing, begin=begin
        )

    def step(
        self, model_output: Tensor, timestep: Timestep, sample: Tensor, return_dict: bool = True
    ) -> SchedulerOutput:
        """One step towards the noise."""
        return self._step(model_output, timestep, sample)

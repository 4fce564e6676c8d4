"""SASolverScheduler: diffusers' interface over `samplers.sa_solver`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.forward import Forward
from genfuse.samplers.sa_solver import noise_in_the_middle, sa_solver
from genfuse.samplers.schedule import noise_schedule
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Generators, Scheduler, Timestep, check_tensors
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.multistep import MultistepScheduler, diffusers_predictor
from genfuse.schedulers.nodes import reject_flow, sigma_kind
from genfuse.schedulers.output import SchedulerOutput


class SASolverScheduler(MultistepScheduler):
    """SA-Solver (Xue et al. 2023); arguments and defaults as diffusers' class of this name.

    tau_func  timestep → share of noise in [0, 1]; None: 1 from timestep 200 to 800, else 0

    Where the caller changes the sample between steps, diffusers' corrector starts from the sample that the last
    step was given, here from the one that this step is given, less what the last step added.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | NDArray[np.floating] | None = None,
        predictor_order: int = 2,
        corrector_order: int = 2,
        prediction_type: str = "epsilon",
        tau_func: Callable[[float], float] | None = None,
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = "data_prediction",
        lower_order_final: bool = True,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        use_flow_sigmas: bool = False,
        flow_shift: float = 1.0,
        lambda_min_clipped: float = -float("inf"),
        variance_type: str | None = None,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ) -> None:
        check_name("algorithm_type", algorithm_type, ("data_prediction", "noise_prediction"))
        reject_flow(self.config, sigma_kind(self.config))
        if tau_func is not None and not callable(tau_func):
            raise TypeError(f"tau_func is {tau_func!r}, expected a function of the timestep, or None")
        if algorithm_type == "noise_prediction" and prediction_type == "flow_prediction":
            raise ValueError(
                "prediction_type is 'flow_prediction', expected 'epsilon', 'sample' or 'v_prediction' with "
                "algorithm_type 'noise_prediction'"
            )
        diffusers_predictor(prediction_type, flow=use_flow_sigmas)
        self.tau_func = noise_in_the_middle if tau_func is None else tau_func
        self._set_schedule(
            noise_schedule(
                beta_schedule,
                num_train_timesteps,
                beta_start=beta_start,
                beta_end=beta_end,
                trained_betas=trained_betas,
                precision="float32",
            )
        )
        self._set_training_nodes()

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Choose the nodes."""
        levels = self._schedule.alphas_cumprod
        log_snr = np.log(np.sqrt(levels)) - np.log(np.sqrt(1 - levels))
        below = int(np.count_nonzero(log_snr < self.config.lambda_min_clipped))
        self._set_multistep_nodes(
            num_inference_steps,
            device,
            flow_shift=self.config.flow_shift,
            last_timestep=len(levels) - below,
        )

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        generator: Generators | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """The sample at the next node. A learned variance's channels of model_output are left out."""
        check_tensors(model_output, sample)
        if self.config.variance_type in ("learned", "learned_range"):
            model_output = model_output[:, : sample.shape[1]]
        return self._step(model_output, timestep, sample, generator=generator)

    def _table(self, begin: int) -> Table:
        config = self.config
        noise = config.algorithm_type == "noise_prediction"
        predictor = diffusers_predictor(
            config.prediction_type, flow=config.use_flow_sigmas, integrates_noise=noise
        )
        return sa_solver(
            self._grid,
            predictor,
            predictor_order=config.predictor_order,
            corrector_order=config.corrector_order,
            tau=self.tau_func,
            parametrization=config.algorithm_type,
            lower_order_final=config.lower_order_final,
            clip=self._clip(),
            begin=begin,
        )

    def _draw_rows(self, table: Table) -> list[bool]:
        """diffusers draws at every step, also where tau is 0."""
        return [True] * len(table)

    def _make_forward(self) -> Forward:
        return Scheduler._make_forward(self)

    def _levels(self, timesteps: Tensor, sample: Tensor) -> Tensor:
        """Training times, as in DDPM: SA-Solver noises to any of them."""
        return self._training_levels(timesteps, sample)

"""EDMEulerScheduler: diffusers' interface over `samplers.euler`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.euler import euler
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import edm_predictor
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Generators, Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.edm import EDMScheduler
from genfuse.schedulers.nodes import reject_whole, second_output_rows
from genfuse.schedulers.output import SchedulerOutput


class EDMEulerScheduler(EDMScheduler):
    """Euler steps of the preconditioned network (Karras et al. 2022); arguments as in diffusers."""

    _one_step = True

    @register_to_config
    def __init__(
        self,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        sigma_schedule: str = "karras",
        num_train_timesteps: int = 1000,
        prediction_type: str = "epsilon",
        rho: float = 7.0,
        final_sigmas_type: str = "zero",
    ) -> None:
        check_name("sigma_schedule", sigma_schedule, ("karras", "exponential"))
        check_name("final_sigmas_type", final_sigmas_type, ("zero", "sigma_min"))
        check_name("prediction_type", prediction_type, ("epsilon", "v_prediction"))
        self._set_ramp(
            torch.arange(num_train_timesteps + 1, dtype=torch.float64, device="cpu") / num_train_timesteps
        )

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: Tensor | list[float] | None = None,
    ) -> None:
        """Choose the nodes. sigmas: (n,) positions in [0, 1] from sigma_max to sigma_min, as in diffusers."""
        if (num_inference_steps is None) == (sigmas is None) and sigmas is None:
            raise ValueError("num_inference_steps and sigmas are both None, expected one of them")
        if sigmas is None:
            assert num_inference_steps is not None
            if num_inference_steps < 1:
                raise ValueError(f"num_inference_steps is {num_inference_steps}, expected at least 1")
            ramp = torch.linspace(0, 1, num_inference_steps, dtype=torch.float64, device="cpu")
        else:
            ramp = torch.as_tensor(sigmas, dtype=torch.float64, device="cpu").reshape(-1)
        self.num_inference_steps = len(ramp)
        self._set_ramp(ramp, device)

    def _set_ramp(self, ramp: Tensor, device: str | torch.device | None = None) -> None:
        """Nodes at positions in [0, 1] of the configured schedule, rounded to float32 as in diffusers."""
        config = self.config
        if config.sigma_schedule == "karras":
            low, high = config.sigma_min ** (1 / config.rho), config.sigma_max ** (1 / config.rho)
            levels = ((high + ramp * (low - high)) ** config.rho).float()
        else:
            ends = math.log(config.sigma_min), math.log(config.sigma_max)
            levels = torch.linspace(*ends, len(ramp), device="cpu").exp().flip(0)
        timesteps = (0.25 * torch.log(levels)).numpy()
        last = levels[-1:] if config.final_sigmas_type == "sigma_min" else torch.zeros(1, device="cpu")
        sigmas = torch.cat([levels, last]).double().numpy()
        grid = Grid(timesteps=timesteps.astype(np.float64), alpha=np.ones_like(sigmas), sigma=sigmas)
        scale = 1 / np.hypot(sigmas[:-1], config.sigma_data)
        self._set_nodes(grid, timesteps, sigmas=sigmas, input_scale=scale, device=device)

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = float("inf"),
        s_noise: float = 1.0,
        generator: Generators | None = None,
        return_dict: bool = True,
        pred_original_sample: Tensor | None = None,
    ) -> SchedulerOutput:
        """The sample at the next node. pred_original_sample: the denoised sample, instead of model_output."""
        reject_whole(timestep)
        denoised = pred_original_sample is not None
        output = model_output if pred_original_sample is None else pred_original_sample
        options = (s_churn, s_tmin, s_tmax, s_noise, denoised)
        return self._step(output, timestep, sample, generator=generator, options=options)

    def _table(self, begin: int, *options: Any) -> Table:
        s_churn, s_tmin, s_tmax, s_noise, denoised = options
        config = self.config
        network = edm_predictor(config.sigma_data, v_prediction=config.prediction_type == "v_prediction")
        return euler(
            self._grid,
            "sample" if denoised else network,
            s_churn=s_churn,
            s_tmin=s_tmin,
            s_tmax=s_tmax,
            s_noise=s_noise,
            begin=begin,
        )

    def _original_rows(self, table: Table, *options: object) -> Tensor:
        return second_output_rows(table)

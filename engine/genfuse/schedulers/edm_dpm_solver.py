"""EDMDPMSolverMultistepScheduler: DPM-Solver++ with the preconditioned network of Karras et al. 2022."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.dpm_solver import dpmpp_multistep
from genfuse.samplers.dpm_step import check_dpm_options
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import edm_predictor
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Generators, Timestep
from genfuse.schedulers.config import FrozenConfig, register_to_config
from genfuse.schedulers.dpm_solver_multistep import ALIASES
from genfuse.schedulers.edm import EDMScheduler
from genfuse.schedulers.output import SchedulerOutput


class EDMDPMSolverMultistepScheduler(EDMScheduler):
    """DPM-Solver++ where x = x0 + sigma·noise; arguments and defaults as diffusers' class of this name."""

    _gives_original = False

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
        solver_order: int = 2,
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = "dpmsolver++",
        solver_type: str = "midpoint",
        lower_order_final: bool = True,
        euler_at_final: bool = False,
        final_sigmas_type: str = "zero",
    ) -> None:
        algorithms = ("dpmsolver++", "sde-dpmsolver++", *ALIASES["algorithm_type"])
        check_name("algorithm_type", algorithm_type, algorithms)
        check_name("sigma_schedule", sigma_schedule, ("karras", "exponential"))
        check_name("final_sigmas_type", final_sigmas_type, ("zero", "sigma_min"))
        check_name("prediction_type", prediction_type, ("epsilon", "v_prediction"))
        for name, meaning in ALIASES.items():
            own = meaning.get(self.config[name], self.config[name])
            self._internal_dict = FrozenConfig({**self.config, name: own})
        check_dpm_options(
            solver_order, self.config.algorithm_type, self.config.solver_type, argument="solver_order"
        )
        self._set_levels_at(torch.linspace(0, 1, num_train_timesteps, device="cpu"), 0.0)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Choose the nodes."""
        if num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {num_inference_steps}, expected at least 1")
        last = self.config.sigma_min if self.config.final_sigmas_type == "sigma_min" else 0.0
        self._set_levels_at(torch.linspace(0, 1, num_inference_steps, device="cpu"), last, device)
        self.num_inference_steps = num_inference_steps

    def _set_levels_at(self, ramp: Tensor, last: float, device: str | torch.device | None = None) -> None:
        """Nodes at positions (n,) in [0, 1] from sigma_max to sigma_min, in float32 as in diffusers."""
        config = self.config
        if config.sigma_schedule == "karras":
            low, high = config.sigma_min ** (1 / config.rho), config.sigma_max ** (1 / config.rho)
            levels = (high + ramp * (low - high)) ** config.rho
        else:
            levels = (
                torch.linspace(
                    math.log(config.sigma_min), math.log(config.sigma_max), len(ramp), device="cpu"
                )
                .exp()
                .flip(0)
            )
        timesteps = (0.25 * torch.log(levels)).numpy()
        sigmas = torch.cat([levels, torch.tensor([last], device="cpu")]).double().numpy()
        grid = Grid(timesteps=timesteps.astype(np.float64), alpha=np.ones_like(sigmas), sigma=sigmas)
        scale = 1 / np.hypot(sigmas[:-1], config.sigma_data)
        self._set_nodes(grid, timesteps, sigmas=sigmas, input_scale=scale, device=device)

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        generator: Generators | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """The sample at the next node, from the network's output at this one. (N, ...) alike."""
        return self._step(model_output, timestep, sample, generator=generator)

    def _table(self, begin: int) -> Table:
        config = self.config
        return dpmpp_multistep(
            self._grid,
            edm_predictor(config.sigma_data, v_prediction=config.prediction_type == "v_prediction"),
            order=config.solver_order,
            algorithm=config.algorithm_type,
            solver_type=config.solver_type,
            lower_order_final=config.lower_order_final,
            euler_at_final=config.euler_at_final,
            curvature="diffusers",
            clip=self._clip(),
            begin=begin,
        )

    def _draw_rows(self, table: Table) -> list[bool]:
        """diffusers draws at every step, also the last, which needs none."""
        return [self.config.algorithm_type.startswith("sde")] * len(table)

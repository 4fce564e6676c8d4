"""DPMSolverSinglestepScheduler: diffusers' interface over `samplers.dpm_solver_singlestep`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.dpm_solver_singlestep import dpmpp_singlestep
from genfuse.samplers.dpm_step import check_dpm_options
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Generators, Timestep
from genfuse.schedulers.config import FrozenConfig, register_to_config
from genfuse.schedulers.dpm import DPMScheduler
from genfuse.schedulers.dpm_solver_multistep import ALIASES
from genfuse.schedulers.output import SchedulerOutput

ALGORITHMS = ("dpmsolver", "dpmsolver++", "sde-dpmsolver++")


class DPMSolverSinglestepScheduler(DPMScheduler):
    """DPM-Solver and ++ (Lu et al. 2022), singlestep; arguments and defaults as diffusers' class.

    Where the caller changes the sample inside a group of steps, diffusers goes on from the sample that the group
    began with, here from the one that the step is given, less what the group has added.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | NDArray[np.floating] | None = None,
        solver_order: int = 2,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = "dpmsolver++",
        solver_type: str = "midpoint",
        lower_order_final: bool = False,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        use_flow_sigmas: bool = False,
        flow_shift: float = 1.0,
        final_sigmas_type: str = "zero",
        lambda_min_clipped: float = -float("inf"),
        variance_type: str | None = None,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
    ) -> None:
        self._set_up(ALIASES)
        config = self.config
        check_name("algorithm_type", config.algorithm_type, ALGORITHMS)
        check_dpm_options(solver_order, config.algorithm_type, config.solver_type, argument="solver_order")
        if self._integrates_noise() and final_sigmas_type == "zero":
            raise ValueError(
                "final_sigmas_type is 'zero', expected 'sigma_min' with algorithm_type 'dpmsolver'"
            )

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        mu: float | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Choose the nodes: a number of them, or their times. mu: log of the flow shift.

        Without lower_order_final, a number that is no multiple of solver_order or a last node at sigma 0
        sets it, with a warning, as in diffusers.
        """
        self._set_dpm_nodes(num_inference_steps, device, timesteps, self._check_mu(mu))
        config = self.config
        uneven = len(self._grid) % config.solver_order != 0
        if not config.lower_order_final and (uneven or config.final_sigmas_type == "zero"):
            reason = (
                f"{len(self._grid)} steps of order {config.solver_order}" if uneven else "a last sigma of 0"
            )
            warnings.warn(f"lower_order_final is False, set to True: {reason} needs it", stacklevel=2)
            # No table has been built on these nodes yet: those that will be are of the changed configuration.
            changed = FrozenConfig({**config, "lower_order_final": True})
            self._internal_dict = self._config_of_runs = changed

    def _spaced(self, steps: int, last_timestep: int) -> NDArray[np.float64]:
        """(n,) times, evenly spaced: this class has no other spacing."""
        return np.asarray(np.linspace(0, last_timestep - 1, steps + 1).round()[:0:-1])

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        generator: Generators | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """The sample at the next node, from the network's output at this one; (N, C, ...) alike.

        The channels of a learned variance (N, 2C, ...) are left out.
        """
        return self._step(self._mean_output(model_output, sample), timestep, sample, generator=generator)

    def _table(self, begin: int) -> Table:
        config = self.config
        return dpmpp_singlestep(
            self._grid,
            self._network(),
            order=config.solver_order,
            algorithm=config.algorithm_type,
            solver_type=config.solver_type,
            lower_order_final=config.lower_order_final,
            curvature="diffusers",
            clip=self._clip(),
            begin=begin,
        )

    def _draw_rows(self, table: Table) -> list[bool]:
        """diffusers draws at every step, also the last, which needs none."""
        return [self.config.algorithm_type.startswith("sde")] * len(table)

"""DPMSolverMultistepScheduler and its inverse: diffusers' interface over `samplers.dpm_solver`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.dpm_solver import dpmpp_multistep
from genfuse.samplers.dpm_step import ALGORITHMS, check_dpm_options
from genfuse.samplers.sigmas import spaced_sigmas
from genfuse.samplers.spacing import SPACINGS, check_apart, check_steps
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Generators, Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.dpm import DPMScheduler
from genfuse.schedulers.output import SchedulerOutput

Betas = Sequence[float] | NDArray[np.floating]

ALIASES = {
    "algorithm_type": {"deis": "dpmsolver++"},
    "solver_type": {"logrho": "midpoint", "bh1": "midpoint", "bh2": "midpoint"},
}
"""Other schedulers' options, which a configuration may bring along, and what they mean here."""


class DPMSolverMultistepScheduler(DPMScheduler):
    """DPM-Solver and DPM-Solver++ (Lu et al. 2022), multistep; arguments and defaults as diffusers' class."""

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Betas | None = None,
        solver_order: int = 2,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = "dpmsolver++",
        solver_type: str = "midpoint",
        lower_order_final: bool = True,
        euler_at_final: bool = False,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        use_lu_lambdas: bool = False,
        use_flow_sigmas: bool = False,
        flow_shift: float = 1.0,
        final_sigmas_type: str = "zero",
        lambda_min_clipped: float = -float("inf"),
        variance_type: str | None = None,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
    ) -> None:
        self._set_up_solver()

    def _set_up_solver(self) -> None:
        self._set_up(ALIASES)
        config = self.config
        check_name("algorithm_type", config.algorithm_type, ALGORITHMS)
        check_dpm_options(
            config.solver_order, config.algorithm_type, config.solver_type, argument="solver_order"
        )
        check_name("timestep_spacing", config.timestep_spacing, SPACINGS)
        if self._integrates_noise() and config.get("final_sigmas_type") == "zero":
            raise ValueError(
                f"final_sigmas_type is 'zero', expected 'sigma_min' with {config.algorithm_type!r}"
            )

    def _rounds_times(self) -> bool:
        return bool(self.config.beta_schedule != "squaredcos_cap_v2")

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        mu: float | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Choose the nodes: a number of them, or their times. mu: log of the flow shift."""
        self._set_dpm_nodes(num_inference_steps, device, timesteps, self._check_mu(mu))

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        generator: Generators | None = None,
        variance_noise: Tensor | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """The sample at the next node, from the network's output at this one; (N, C, ...) alike.

        Noise of the sde algorithms: variance_noise, or the generator's (drawn in float32, as in diffusers),
        or the fused one. The channels of a learned variance (N, 2C, ...) are left out.
        """
        model_output = self._mean_output(model_output, sample)
        noise = None
        if variance_noise is not None and self.config.algorithm_type.startswith("sde"):
            noise = variance_noise.to(sample)
        return self._step(model_output, timestep, sample, generator=generator, noise=noise)

    def _draw_rows(self, table: Table) -> list[bool]:
        """diffusers draws at every step, also the last, which needs none."""
        return [self.config.algorithm_type.startswith("sde")] * len(table)

    def _noise_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return torch.float32

    def _table(self, begin: int) -> Table:
        config = self.config
        return dpmpp_multistep(
            self._grid,
            self._network(),
            order=config.solver_order,
            algorithm=config.algorithm_type,
            solver_type=config.solver_type,
            lower_order_final=config.lower_order_final,
            euler_at_final=config.euler_at_final,
            curvature="diffusers",
            clip=self._clip(),
            begin=begin,
        )


class DPMSolverMultistepInverseScheduler(DPMSolverMultistepScheduler):
    """The same solver from the image to the noise; arguments and defaults as diffusers' class.

    ValueError for an sde algorithm: inversion adds no noise of its own (diffusers' result is NaN).
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Betas | None = None,
        solver_order: int = 2,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = "dpmsolver++",
        solver_type: str = "midpoint",
        lower_order_final: bool = True,
        euler_at_final: bool = False,
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
        if algorithm_type.startswith("sde"):
            raise ValueError(f"algorithm_type is {algorithm_type!r}, expected 'dpmsolver' or 'dpmsolver++'")
        self._set_up_solver()
        times = self.timesteps.flip(0).numpy()
        levels = self._schedule.sigmas
        self._set_dpm_levels(times, np.append(levels, levels[-1]), flow=False)
        self.num_inference_steps = None

    def set_timesteps(  # type: ignore[override]
        self, num_inference_steps: int, device: str | torch.device | None = None
    ) -> None:
        """Choose the nodes, from the least noise to the most."""
        config, levels, steps = self.config, self._schedule.sigmas, num_inference_steps
        check_steps(steps, config.num_train_timesteps)
        kind = self._node_kind()
        if kind is not None:
            sigmas = spaced_sigmas(kind, *self._ends(kind), max(steps, 2))[::-1][
                :steps
            ]  # one: the least noise
            times = self._times_at(sigmas)
            times, last = (times.round() if kind == "karras" else times), float(sigmas[-1])
        elif config.use_flow_sigmas:
            times, sigmas = self._flow_nodes(steps, config.flow_shift)
            last = float(sigmas[-1])
        else:
            noisiest = self._last_timestep() - 1
            times = check_apart(self._ascending(steps, noisiest), config.timestep_spacing)
            sigmas, last = self._sigmas_at(times), float(levels[noisiest])
        # Where times coincide diffusers keeps one of each, and takes the sigmas in order all the same.
        _, first = np.unique(times, return_index=True)
        distinct = times[np.sort(first)].astype(np.int64)
        self._set_dpm_levels(distinct, np.append(sigmas, last), device=device)

    def _ascending(self, steps: int, noisiest: int) -> NDArray[np.float64]:
        """(n,) times of the spacing up to, and without, the noisiest."""
        spacing = self.config.timestep_spacing
        if spacing == "linspace":
            return np.asarray(np.linspace(0, noisiest, steps + 1).round()[:-1])
        if spacing == "leading":
            stride = (noisiest + 1) // (steps + 1)
            return np.asarray(np.arange(steps) * float(stride) + self.config.steps_offset)
        down = self.config.num_train_timesteps / steps
        return np.asarray(np.arange(noisiest + 1, 0, -down).round()[::-1] - 1)

"""DPMSolverSDEScheduler: diffusers' interface over `samplers.dpm_solver_sde`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.dpm_solver_sde import dpmpp_sde
from genfuse.samplers.prediction import PREDICTION_TYPES
from genfuse.samplers.sigmas import sigma_to_t
from genfuse.samplers.spacing import SPACINGS, sigma_grid, spaced_timesteps
from genfuse.samplers.table import Table
from genfuse.samplers.two_calls import interleaved
from genfuse.schedulers.base import Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.discrete import DiscreteScheduler
from genfuse.schedulers.output import SchedulerOutput


class DPMSolverSDEScheduler(DiscreteScheduler):
    """DPM-Solver++ SDE with a midpoint; arguments and defaults as diffusers' class.

    The noise is the fused counter-based one, not diffusers' Brownian tree: the law is the same (the two
    halves of a step share their path), a trajectory is not. noise_sampler_seed (one, or one a sample) decides
    it; None: torch.manual_seed does.
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
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        noise_sampler_seed: int | Sequence[int] | None = None,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ) -> None:
        check_name("prediction_type", prediction_type, PREDICTION_TYPES)
        check_name("timestep_spacing", timestep_spacing, SPACINGS)
        self._set_sigma_schedule()
        self.set_timesteps(num_train_timesteps)

    def set_timesteps(
        self,
        num_inference_steps: int,
        device: str | torch.device | None = None,
        num_train_timesteps: int | None = None,
    ) -> None:
        """Choose the steps; each but the last has a midpoint: 2n − 1 float64 timesteps."""
        self._check_train_timesteps(num_train_timesteps)
        config = self.config
        times = spaced_timesteps(
            config.timestep_spacing,
            num_inference_steps,
            config.num_train_timesteps,
            steps_offset=config.steps_offset,
            rounded=False,
        )
        sigmas, times = self._nodes(self._schedule, times)
        middle_times = sigma_to_t(np.sqrt(sigmas[:-1] * sigmas[1:]), self._schedule.log_sigmas)
        sigmas = np.append(sigmas, 0.0).astype(np.float32).astype(np.float64)
        middles = np.sqrt(sigmas[:-2] * sigmas[1:-1])
        self.num_inference_steps = num_inference_steps
        self._set_nodes(
            sigma_grid(sigmas, timesteps=times, coordinates="ve"),
            interleaved(times, middle_times),
            sigmas=np.append(sigmas[:1], sigmas[1:].repeat(2))[:-1],
            input_scale=1 / np.hypot(1, interleaved(sigmas[:-1], middles)),
            device=device,
        )
        largest = float(self.sigmas.max())
        even = config.timestep_spacing in ("linspace", "trailing")
        self.init_noise_sigma = largest if even else (largest**2 + 1) ** 0.5

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        return_dict: bool = True,
        s_noise: float = 1.0,
    ) -> SchedulerOutput:
        """One of the two model calls of a step; see `timesteps`. s_noise: factor of the noise."""
        return self._step(model_output, timestep, sample, options=(float(s_noise),))

    def _table(self, begin: int, s_noise: float = 1.0) -> Table:
        return dpmpp_sde(
            self._grid, self.config.prediction_type, schedule=self._schedule, s_noise=s_noise, begin=begin
        )

    def _sample_seeds(self, sample: Tensor) -> Tensor:
        given = self.config.noise_sampler_seed
        if given is None:
            return super()._sample_seeds(sample)
        if isinstance(given, int):
            limits = torch.iinfo(torch.int64)
            generator = torch.Generator().manual_seed(given)
            seeds = torch.randint(limits.min, limits.max, sample.shape[:1], generator=generator, device="cpu")
        else:
            seeds = torch.tensor(list(given), dtype=torch.int64, device="cpu")
            if len(seeds) != sample.shape[0]:
                raise ValueError(
                    f"noise_sampler_seed has {len(seeds)} seeds, expected {sample.shape[0]}: one a sample"
                )
        return seeds.to(sample.device)

"""CMStochasticIterativeScheduler: diffusers' interface over `samplers.consistency`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.samplers.consistency import consistency
from genfuse.samplers.grid import Grid
from genfuse.samplers.spacing import check_steps, custom_timesteps
from genfuse.samplers.table import NO_CLIP, Clip, Table
from genfuse.schedulers.base import Generators, Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.nodes import NodeScheduler, reject_whole
from genfuse.schedulers.output import SchedulerOutput


class CMStochasticIterativeScheduler(NodeScheduler):
    """Consistency sampling (Song et al. 2023); arguments and defaults as diffusers' class of this name."""

    _one_step = True
    _gives_original = False

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 40,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        s_noise: float = 1.0,
        rho: float = 7.0,
        clip_denoised: bool = True,
    ) -> None:
        self.init_noise_sigma = sigma_max
        self._set_ramp(np.linspace(0, 1, num_train_timesteps))

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Choose the nodes: steps of the training ones, or the training ones of given descending numbers."""
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError(
                f"num_inference_steps is {num_inference_steps} and timesteps is {timesteps}, "
                "expected exactly one of them"
            )
        count = self.config.num_train_timesteps
        if count < 2:
            raise ValueError(
                f"num_train_timesteps is {count}, expected at least 2: sigma_max and sigma_min are two"
            )
        if timesteps is not None:
            chosen = custom_timesteps(timesteps, count)
        else:
            assert num_inference_steps is not None
            check_steps(num_inference_steps, count)
            chosen = np.asarray(np.arange(num_inference_steps)[::-1] * float(count // num_inference_steps))
        self.num_inference_steps = len(chosen)
        self._set_ramp(chosen[::-1] / (count - 1), device)

    def _set_ramp(self, ramp: NDArray[np.float64], device: str | torch.device | None = None) -> None:
        """Nodes at ascending positions in [0, 1] from sigma_max to sigma_min; sigmas in float32."""
        config = self.config
        low, high = config.sigma_min ** (1 / config.rho), config.sigma_max ** (1 / config.rho)
        levels = (high + ramp * (low - high)) ** config.rho
        timesteps = 1000 * 0.25 * np.log(levels + 1e-44)
        sigmas = np.append(levels, config.sigma_min).astype(np.float32).astype(np.float64)
        if len(levels) == 1:
            sigmas[-1] = config.sigma_min  # unrounded: a single jump adds no noise at all
        grid = Grid(timesteps=timesteps, alpha=np.ones_like(sigmas), sigma=sigmas)
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
        """The predicted x0, noised to the next level. (N, ...) alike."""
        reject_whole(timestep)
        return self._step(model_output, timestep, sample, generator=generator)

    def _table(self, begin: int) -> Table:
        config = self.config
        return consistency(
            self._grid,
            sigma_min=config.sigma_min,
            sigma_data=config.sigma_data,
            s_noise=config.s_noise,
            clip=Clip(-1.0, 1.0) if config.clip_denoised else NO_CLIP,
            begin=begin,
        )

    def _draw_rows(self, table: Table) -> list[bool]:
        """diffusers draws at every step, the last too, where there is more than one."""
        return [len(table) > 1] * len(table)

"""LCMScheduler: diffusers' interface over `samplers.lcm`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.samplers.lcm import lcm
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Generators, Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.distilled import DistilledScheduler, distilled_timesteps
from genfuse.schedulers.output import SchedulerOutput


class LCMOutput(SchedulerOutput):
    """prev_sample, and `denoised`: x0 with the boundary condition, which position 1 is."""

    __slots__ = ()

    @property
    def denoised(self) -> Tensor:
        """The consistency function's value (N, ...)."""
        return self.pred_original_sample


class LCMScheduler(DistilledScheduler):
    """Latent consistency sampling (Luo et al. 2023); arguments and defaults as diffusers' class of this name.

    The last step adds no noise, also with custom timesteps and strength < 1, where diffusers' count of
    steps (of all the timesteps given) never reaches its last.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "scaled_linear",
        trained_betas: Sequence[float] | NDArray[np.floating] | None = None,
        original_inference_steps: int = 50,
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        timestep_scaling: float = 10.0,
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        self._set_distilled_schedule()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        original_inference_steps: int | None = None,
        timesteps: Sequence[int] | None = None,
        strength: float = 1.0,
    ) -> None:
        """Choose the nodes among the original_inference_steps that the network was distilled on."""
        original = original_inference_steps or self.config.original_inference_steps
        stride = self.config.num_train_timesteps // max(original, 1)
        origin = np.arange(1, int(original * strength) + 1) * stride - 1
        chosen = distilled_timesteps(self.config, num_inference_steps, timesteps, origin, original, strength)
        self.num_inference_steps = len(chosen)
        self._set_distilled_nodes(chosen, device)

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        generator: Generators | None = None,
        return_dict: bool = True,
    ) -> LCMOutput:
        """The sample at the next node, noised again but after the last. (N, ...) alike."""
        output = self._step(model_output, timestep, sample, generator=generator)
        return LCMOutput(output.prev_sample, lambda: output.pred_original_sample)

    def _last_alphas_cumprod(self) -> float:
        return 1.0

    def _table(self, begin: int) -> Table:
        config = self.config
        return lcm(
            self._grid,
            config.prediction_type,
            timestep_scaling=config.timestep_scaling,
            clip=self._clip(),
            begin=begin,
        )

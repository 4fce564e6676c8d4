"""TCDScheduler: diffusers' interface over `samplers.tcd`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.samplers.table import Table
from genfuse.samplers.tcd import tcd
from genfuse.schedulers.base import Generators, Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.distilled import DistilledScheduler, distilled_timesteps
from genfuse.schedulers.output import SchedulerOutput


class TCDOutput(SchedulerOutput):
    """prev_sample, and `pred_noised_sample`: where the jump landed, which position 1 is."""

    __slots__ = ()

    @property
    def pred_noised_sample(self) -> Tensor:
        """x_s before the fresh noise (N, ...)."""
        return self.pred_original_sample


class TCDScheduler(DistilledScheduler):
    """Trajectory consistency sampling (Zheng et al. 2024); arguments and defaults as in diffusers.

    As there, clip_sample and thresholding are configuration that the step does not read.
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
        """Choose the nodes: of the distilled ones, or of all where original_inference_steps is given."""
        config = self.config
        if original_inference_steps is None:
            original = config.original_inference_steps
            stride = config.num_train_timesteps // max(original, 1)
            origin = np.arange(1, int(original * strength) + 1) * stride - 1
        else:
            original = original_inference_steps
            origin = np.arange(int(config.num_train_timesteps * strength))
        chosen = distilled_timesteps(config, num_inference_steps, timesteps, origin, original, strength)
        self.num_inference_steps = len(chosen)
        self._set_distilled_nodes(chosen, device)

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        eta: float = 0.3,
        generator: Generators | None = None,
        return_dict: bool = True,
    ) -> TCDOutput:
        """The sample at the next node. eta in [0, 1]: how far a jump goes past it, 0 for no noise."""
        output = self._step(model_output, timestep, sample, generator=generator, options=(eta,))
        return TCDOutput(output.prev_sample, lambda: output.pred_original_sample)

    def _last_alphas_cumprod(self) -> float:
        return float(self._schedule.alphas_cumprod[0])

    def _table(self, begin: int, eta: float = 0.3) -> Table:
        return tcd(self._grid, self.config.prediction_type, schedule=self._schedule, eta=eta, begin=begin)

    def _draw_rows(self, table: Table) -> list[bool]:
        """diffusers draws at every step but the last where eta > 0, also where a jump lands on a node."""
        return [table.stochastic] * (len(table) - 1) + [False]

"""What LCM and TCD share in diffusers: nodes chosen among those that the network was distilled on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.grid import Grid
from genfuse.samplers.schedule import noise_schedule
from genfuse.samplers.spacing import check_steps, custom_timesteps
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Scheduler
from genfuse.schedulers.config import FrozenConfig
from genfuse.schedulers.nodes import second_output_rows


class DistilledScheduler(Scheduler):
    """Rows without a history, whose second output is what diffusers returns beside the sample."""

    _one_step = True

    def _set_distilled_schedule(self) -> None:
        """The configured schedule, and every training time as a node until set_timesteps is called."""
        config = self.config
        check_name("prediction_type", config.prediction_type, ("epsilon", "sample", "v_prediction"))
        schedule = noise_schedule(
            config.beta_schedule,
            config.num_train_timesteps,
            beta_start=config.beta_start,
            beta_end=config.beta_end,
            trained_betas=config.trained_betas,
            rescale_betas_zero_snr=config.rescale_betas_zero_snr,
            precision="float32",
        )
        self._set_schedule(schedule)
        self._set_distilled_nodes(np.arange(len(schedule))[::-1])

    def _set_distilled_nodes(
        self, timesteps: NDArray[np.int64], device: str | torch.device | None = None
    ) -> None:
        levels = np.append(self._schedule.alphas_cumprod[timesteps], self._last_alphas_cumprod())
        grid = Grid(timesteps=timesteps.astype(np.float64), alpha=np.sqrt(levels), sigma=np.sqrt(1 - levels))
        self._set_nodes(grid, timesteps, device=device)

    def _last_alphas_cumprod(self) -> float:
        """Signal of the grid's last node."""
        raise NotImplementedError

    def _original_rows(self, table: Table, *options: object) -> Tensor:
        return second_output_rows(table)


def distilled_timesteps(
    config: FrozenConfig,
    steps: int | None,
    timesteps: Sequence[int] | None,
    origin: NDArray[np.int64],
    original_steps: int,
    strength: float,
) -> NDArray[np.int64]:
    """(n,) descending times: given, or `steps` of the ascending `origin`, evenly from the last down.

    strength  of times given, the last share that is kept
    ValueError for both or neither of steps and timesteps, and for more steps than `origin` or original_steps.
    """
    if (steps is None) == (timesteps is None):
        raise ValueError(
            f"num_inference_steps is {steps} and timesteps is {timesteps}, expected exactly one of them"
        )
    if not 0 < strength <= 1:
        raise ValueError(f"strength is {strength}, expected a number in (0, 1]")
    if original_steps > config.num_train_timesteps:
        raise ValueError(
            f"original_inference_steps is {original_steps}, expected at most num_train_timesteps = "
            f"{config.num_train_timesteps}"
        )
    if timesteps is not None:
        values = custom_timesteps(timesteps, config.num_train_timesteps).astype(np.int64)
        return values[len(values) - min(int(len(values) * strength), len(values)) :]
    assert steps is not None
    check_steps(steps, config.num_train_timesteps)
    if steps > min(len(origin), original_steps):
        raise ValueError(
            f"num_inference_steps is {steps}, expected at most {min(len(origin), original_steps)}: "
            f"original_inference_steps {original_steps} at strength {strength}"
        )
    chosen = np.floor(np.linspace(0, len(origin), num=steps, endpoint=False)).astype(np.int64)
    return np.ascontiguousarray(origin[::-1][chosen])

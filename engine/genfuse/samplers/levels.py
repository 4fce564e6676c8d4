"""Signal and noise level at every model time, and the grids that a sampler can step over in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genfuse.names import check_name
from genfuse.samplers.grid import Grid
from genfuse.samplers.prediction import PredictionType
from genfuse.samplers.schedule import SCHEDULES, NoiseSchedule, noise_schedule
from genfuse.samplers.sigmas import spaced_sigmas
from genfuse.samplers.spacing import (
    check_steps,
    custom_sigmas,
    custom_timesteps,
    sigma_grid,
    spaced_timesteps,
    timestep_grid,
)

Array = NDArray[np.float64]
FLOW_TIMESTEPS = 1000
"""Flow networks are given 1000·sigma, as diffusers gives it."""


@dataclass(frozen=True, eq=False)
class Levels:
    """A noise schedule, or (schedule None) the straight flow x = (1 − sigma)·x0 + sigma·noise."""

    schedule: NoiseSchedule | None

    @classmethod
    def of(cls, schedule: str | NoiseSchedule | None) -> Levels:
        """From what a user names: a schedule, its name, "flow", or None for the linear one."""
        if schedule is None or isinstance(schedule, NoiseSchedule):
            return cls(schedule or noise_schedule())
        if not isinstance(schedule, str):
            raise TypeError(f"schedule is {type(schedule).__name__}, expected a name or a NoiseSchedule")
        check_name("schedule", schedule, ("flow", *SCHEDULES))
        return cls(None if schedule == "flow" else noise_schedule(schedule))

    @property
    def prediction(self) -> PredictionType:
        """What a network on these levels predicts unless told otherwise."""
        return "flow_prediction" if self.schedule is None else "epsilon"

    def at(self, timesteps: Array) -> tuple[Array, Array]:
        """(alpha, sigma) at model times, like `timesteps`; between whole ones log sigma/alpha is linear."""
        if self.schedule is None:
            sigma = timesteps / FLOW_TIMESTEPS
            return 1 - sigma, sigma
        low = np.clip(np.floor(timesteps).astype(np.int64), 0, len(self.schedule) - 1)
        whole = low == timesteps
        alphas_cumprod = self.schedule.alphas_cumprod[low]
        if not whole.all():
            with np.errstate(invalid="ignore"):
                log_sigma = np.interp(timesteps, np.arange(len(self.schedule)), self.schedule.log_sigmas)
            alphas_cumprod = np.where(whole, alphas_cumprod, 1 / (1 + np.exp(2 * log_sigma)))
        return np.sqrt(alphas_cumprod), np.sqrt(1 - alphas_cumprod)

    def grid(
        self,
        steps: int,
        *,
        spacing: str | None = None,
        timesteps: Sequence[float] | Array | None = None,
        sigmas: str | Sequence[float] | Array | None = None,
    ) -> Grid:
        """`steps` intervals down to no noise; at most one of spacing, timesteps and sigmas."""
        given = [
            n
            for n, v in (("spacing", spacing), ("timesteps", timesteps), ("sigmas", sigmas))
            if v is not None
        ]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both given, expected at most one of them")
        if timesteps is None and (sigmas is None or isinstance(sigmas, str)):
            check_steps(steps, FLOW_TIMESTEPS if self.schedule is None else len(self.schedule), "steps")
        if self.schedule is None:
            if spacing is not None:
                raise ValueError(
                    f"spacing is {spacing!r}, expected None: a flow's levels are even; "
                    "pass timesteps or sigmas"
                )
            return self._flow_grid(steps, timesteps, sigmas)
        if timesteps is not None:
            return timestep_grid(self.schedule, custom_timesteps(timesteps, len(self.schedule)))
        if sigmas is None:
            return timestep_grid(
                self.schedule, spaced_timesteps(spacing or "trailing", steps, len(self.schedule))
            )
        if isinstance(sigmas, str):
            ends = self.schedule.sigmas
            return sigma_grid(
                np.append(spaced_sigmas(sigmas, float(ends[0]), float(ends[-1]), steps), 0.0),
                schedule=self.schedule,
            )
        return sigma_grid(custom_sigmas(sigmas), schedule=self.schedule)

    def _flow_grid(
        self,
        steps: int,
        timesteps: Sequence[float] | Array | None,
        sigmas: str | Sequence[float] | Array | None,
    ) -> Grid:
        if isinstance(sigmas, str):
            raise ValueError(f"sigmas is {sigmas!r}, expected levels in [0, 1]: a flow has no such spacing")
        if timesteps is not None:
            levels = np.append(
                custom_timesteps(timesteps, FLOW_TIMESTEPS + 1) / FLOW_TIMESTEPS,
                0.0,
            )
        elif sigmas is not None:
            levels = custom_sigmas(sigmas)
        else:
            levels = np.linspace(1.0, 0.0, steps + 1)
        levels = custom_sigmas(levels)
        if levels[0] > 1:
            raise ValueError(f"sigmas starts at {levels[0]:g}, expected levels in [0, 1] for a flow")
        return Grid(timesteps=levels[:-1] * FLOW_TIMESTEPS, alpha=1 - levels, sigma=levels)

"""Signal and noise level at every model time, and the grids that a sampler can step over in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from genfuse.names import check_name
from genfuse.samplers import libm
from genfuse.samplers.grid import Grid
from genfuse.samplers.prediction import PREDICTION_TYPES, PredictionType
from genfuse.samplers.predictor import Predictor
from genfuse.samplers.schedule import NoiseSchedule
from genfuse.samplers.sigmas import spaced_sigmas
from genfuse.samplers.spacing import (
    check_steps,
    custom_sigmas,
    custom_timesteps,
    sigma_grid,
    spaced_timesteps,
    timestep_grid,
)
from genfuse.samplers.table import Table

Array = NDArray[np.float64]
FLOW_TIMESTEPS = 1000
"""Flow networks are given 1000·sigma, as diffusers gives it."""


class Levels(ABC):
    """What a network was trained on: the levels of noise, the time it is given at each, what it predicts."""

    schedule: NoiseSchedule | None = None
    """Where training times are whole and levels discrete."""
    prediction: PredictionType
    """What a network on these levels predicts unless told otherwise."""

    @abstractmethod
    def at(self, timesteps: Array) -> tuple[Array, Array]:
        """(alpha, sigma) at model times, like `timesteps`."""

    @abstractmethod
    def grid(
        self,
        steps: int,
        *,
        spacing: str | None = None,
        timesteps: Sequence[float] | Array | None = None,
        sigmas: str | Sequence[float] | Array | None = None,
    ) -> Grid:
        """`steps` intervals down to no noise; at most one of spacing, timesteps and sigmas."""

    def predictor(self, prediction: str) -> Predictor:
        """How the network's output is read. ValueError for a prediction that these levels do not have."""
        check_name("prediction", prediction, PREDICTION_TYPES)
        return cast(PredictionType, prediction)

    def scaled(self, table: Table, sigma: Array) -> Table:
        """The table with the scales of sample and network input, for rows at levels sigma (rows,)."""
        return table


class FlowLevels(Levels):
    """The straight flow x = (1 − sigma)·x0 + sigma·noise, at times 1000·sigma."""

    prediction = "flow_prediction"

    def at(self, timesteps: Array) -> tuple[Array, Array]:
        """alpha = 1 − sigma."""
        sigma = timesteps / FLOW_TIMESTEPS
        return 1 - sigma, sigma

    def grid(
        self,
        steps: int,
        *,
        spacing: str | None = None,
        timesteps: Sequence[float] | Array | None = None,
        sigmas: str | Sequence[float] | Array | None = None,
    ) -> Grid:
        """Even levels, or those given as timesteps or sigmas."""
        check_choice(spacing, timesteps, sigmas)
        if spacing is not None:
            raise ValueError(
                f"spacing is {spacing!r}, expected None: a flow's levels are even; pass timesteps or sigmas"
            )
        if isinstance(sigmas, str):
            raise ValueError(f"sigmas is {sigmas!r}, expected levels in [0, 1]: a flow has no such spacing")
        if timesteps is not None:
            levels = np.append(custom_timesteps(timesteps, FLOW_TIMESTEPS + 1) / FLOW_TIMESTEPS, 0.0)
        elif sigmas is not None:
            levels = custom_sigmas(sigmas)
        else:
            check_steps(steps, FLOW_TIMESTEPS, "steps")
            levels = np.linspace(1.0, 0.0, steps + 1)
        levels = custom_sigmas(levels)
        if levels[0] > 1:
            raise ValueError(f"sigmas starts at {levels[0]:g}, expected levels in [0, 1] for a flow")
        return Grid(timesteps=levels[:-1] * FLOW_TIMESTEPS, alpha=1 - levels, sigma=levels)


@dataclass(frozen=True, eq=False)
class ScheduleLevels(Levels):
    """A noise schedule's: variance preserving, at its training times."""

    schedule: NoiseSchedule
    prediction = "epsilon"

    def at(self, timesteps: Array) -> tuple[Array, Array]:
        """Between whole times log sigma/alpha is linear."""
        low = np.clip(np.floor(timesteps).astype(np.int64), 0, len(self.schedule) - 1)
        whole = low == timesteps
        alphas_cumprod = self.schedule.alphas_cumprod[low]
        if not whole.all():
            with np.errstate(invalid="ignore"):
                log_sigma = np.interp(timesteps, np.arange(len(self.schedule)), self.schedule.log_sigmas)
            alphas_cumprod = np.where(whole, alphas_cumprod, 1 / (1 + libm.exp(2 * log_sigma)))
        return np.sqrt(alphas_cumprod), np.sqrt(1 - alphas_cumprod)

    def grid(
        self,
        steps: int,
        *,
        spacing: str | None = None,
        timesteps: Sequence[float] | Array | None = None,
        sigmas: str | Sequence[float] | Array | None = None,
    ) -> Grid:
        """Trailing spacing, or what is chosen."""
        check_choice(spacing, timesteps, sigmas)
        if timesteps is not None:
            return timestep_grid(self.schedule, custom_timesteps(timesteps, len(self.schedule)))
        if sigmas is not None and not isinstance(sigmas, str):
            return sigma_grid(custom_sigmas(sigmas), schedule=self.schedule)
        check_steps(steps, len(self.schedule), "steps")
        if sigmas is None:
            times = spaced_timesteps(spacing or "trailing", steps, len(self.schedule))
            return timestep_grid(self.schedule, times)
        ends = self.schedule.sigmas
        levels = spaced_sigmas(sigmas, float(ends[0]), float(ends[-1]), steps)
        return sigma_grid(np.append(levels, 0.0), schedule=self.schedule)


def check_choice(spacing: object, timesteps: object, sigmas: object) -> None:
    """ValueError where more than one of them is given."""
    choices = (("spacing", spacing), ("timesteps", timesteps), ("sigmas", sigmas))
    given = [name for name, value in choices if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are both given, expected at most one of them")

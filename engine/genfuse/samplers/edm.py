"""EDM: x = x0 + sigma·noise, and the network that Karras et al. 2022 put between scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from genfuse.names import check_name
from genfuse.samplers import libm
from genfuse.samplers.grid import Grid
from genfuse.samplers.levels import Array, Levels, check_choice
from genfuse.samplers.options import check_option, check_positive
from genfuse.samplers.predictor import Predictor, edm_predictor
from genfuse.samplers.sigmas import karras, spaced_sigmas
from genfuse.samplers.spacing import check_whole, custom_sigmas
from genfuse.samplers.table import Table


@dataclass(frozen=True)
class EDM(Levels):
    """Levels from sigma_max down to sigma_min, even in sigma^(1/rho), then 0 (Karras et al. 2022, eq. 5).

    The sample is x0 + sigma·noise and starts as noise of deviation sigma_max. The network is F there (eq. 7):
    it is given x/√(sigma² + sigma_data²) at time log(sigma)/4, and its output means
    x0 = sigma_data²/(sigma² + sigma_data²)·x ± sigma·sigma_data/√(sigma² + sigma_data²)·output,
    + for "epsilon" and − for "v_prediction", diffusers' names. For `schedule=` of `sample` and `Sampler`,
    where "edm" means the defaults. ValueError unless 0 < sigma_min < sigma_max, rho > 0 and sigma_data > 0,
    all finite.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    sigma_data: float = 0.5

    prediction = "epsilon"

    def __post_init__(self) -> None:
        for name in ("sigma_min", "sigma_max", "rho", "sigma_data"):
            check_option(name, getattr(self, name), 1.0)
            check_positive(name, getattr(self, name))
        if not self.sigma_min < self.sigma_max:
            raise ValueError(
                f"sigma_max is {self.sigma_max}, expected more than sigma_min = {self.sigma_min}"
            )

    def at(self, timesteps: Array) -> tuple[Array, Array]:
        """sigma = exp(4·timestep)."""
        return np.ones_like(timesteps), libm.exp(4 * timesteps)

    def grid(
        self,
        steps: int,
        *,
        spacing: str | None = None,
        timesteps: Sequence[float] | Array | None = None,
        sigmas: str | Sequence[float] | Array | None = None,
    ) -> Grid:
        """`sigmas` "karras" (where None), another kind between the ends, or levels given."""
        check_choice(spacing, timesteps, sigmas)
        for name, given in (("spacing", spacing), ("timesteps", timesteps)):
            if given is not None:
                raise ValueError(f"{name} is {given!r}, expected None: EDM's levels are sigmas; pass those")
        if sigmas is not None and not isinstance(sigmas, str):
            levels = custom_sigmas(sigmas)
        else:
            check_whole(steps, "steps")
            if steps < 1:
                raise ValueError(f"steps is {steps}, expected at least 1")
            levels = np.append(self._spaced(sigmas or "karras", steps), 0.0)
        return Grid(timesteps=libm.log(levels[:-1]) / 4, alpha=np.ones_like(levels), sigma=levels)

    def _spaced(self, kind: str, steps: int) -> Array:
        if kind == "karras":
            return karras(self.sigma_min, self.sigma_max, steps, self.rho)
        return spaced_sigmas(kind, self.sigma_min, self.sigma_max, steps)

    def predictor(self, prediction: str) -> Predictor:
        """The preconditioned network. ValueError for what is neither "epsilon" nor "v_prediction"."""
        check_name("prediction", prediction, ("epsilon", "v_prediction"))
        return edm_predictor(self.sigma_data, v_prediction=prediction == "v_prediction")

    def scaled(self, table: Table, sigma: Array) -> Table:
        """The network sees unit variance, the first sample has the first level's."""
        inputs = 1 / np.hypot(sigma, self.sigma_data)
        return replace(table, input_scale=inputs, init_scale=float(sigma[0]))

"""UniPC: a multistep predictor, and a corrector that uses the same model call as the next step."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genfuse.names import check_name
from genfuse.samplers import libm
from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import HISTORY, ZERO, Combination, X
from genfuse.samplers.grid import Grid
from genfuse.samplers.phi import z_phi
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.table import NO_CLIP, Clip, Table

Array = NDArray[np.float64]
Variant = Literal["bh1", "bh2"]
VARIANTS: tuple[Variant, ...] = ("bh1", "bh2")


def unipc(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    order: int = 2,
    predict_x0: bool = True,
    variant: Variant = "bh2",
    lower_order_final: bool = True,
    disable_corrector: Collection[int] = (),
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """UniPC-p (Zhao et al. 2023, algorithms 1 and 2 for x0, 5 and 6 for epsilon).

    UniP and UniC start from the same sample with the same first-order part, so the corrected sample is the
    predicted one, which is x, plus predictions alone: the sample before is never kept.

    order        p, 1 to 4: the predictor's; the corrector has one more
    variant      B(h) = h ("bh1") or e^h − 1 ("bh2"), h negative for x0
    lower_order_final  the last row is of order 1, the one before of order at most 2, ..
    disable_corrector  rows whose result is not corrected by the row after
    begin        first row used
    A step to the same node, or to one without noise, is of order 1, and one from a node without signal is
    not corrected.
    ValueError: an option that is not one of these.
    """
    if not 1 <= order <= len(HISTORY):
        raise ValueError(f"order is {order!r}, expected 1 to {len(HISTORY)}")
    check_name("variant", variant, VARIANTS)
    if not isinstance(disable_corrector, Collection) or isinstance(disable_corrector, str):
        raise TypeError(f"disable_corrector is {disable_corrector!r}, expected row numbers")
    builder = begun_table(grid, begin)
    steps, log_snr, last_order = len(grid), grid.log_snr, 0
    first = begin + int(grid.alpha[begin] == 0)  # derivatives need a finite lambda
    for i in range(begin, steps):
        raw = predict_at(prediction, grid, i)
        now = clipped(raw, clip, grid.alpha[i], grid.sigma[i])
        f = now.x0 if predict_x0 else now.epsilon
        past = [HISTORY[(i - back) % order] for back in range(1, order + 1)]
        x = X
        if i > begin and i - 1 not in disable_corrector and np.isfinite(log_snr[i] - log_snr[i - 1]):
            before = _Interval(grid, i - 1, last_order, predict_x0, variant)
            x = x + before.corrected(past, f) - before.predicted(past)
        last_order = max(1, min(order, i - first + 1, steps - i if lower_order_final else order))
        if log_snr[i + 1] == log_snr[i] or not np.isfinite(log_snr[i + 1] - log_snr[i]):
            last_order = 1
        step = _Interval(grid, i, last_order, predict_x0, variant)
        y = step.first_order(x, f) + step.predicted([f, *past])
        builder.row(grid.timesteps[i], raw, y, clip=clip, store=f, slot=i % order)
    return builder.build()


@dataclass(frozen=True)
class _Interval:
    """The step from node i to i + 1 with p predictions, at nodes i, i − 1, ..: `past` is newest first."""

    grid: Grid
    i: int
    p: int
    predict_x0: bool
    variant: Variant

    @property
    def _h(self) -> float:
        """h, negative for x0: the exponential integrators of both then read the same."""
        log_snr = self.grid.log_snr
        h = float(log_snr[self.i + 1] - log_snr[self.i])
        return -h if self.predict_x0 else h

    def _scale(self) -> float:
        level = self.grid.alpha if self.predict_x0 else self.grid.sigma
        return float(level[self.i + 1])

    def first_order(self, x: Combination, f: Combination) -> Combination:
        """sigma'/sigma·x − alpha'·(e^{−h} − 1)·x0, or alpha'/alpha·x − sigma'·(e^h − 1)·epsilon: DDIM."""
        ends = slice(self.i, self.i + 2)
        alpha: list[float] = self.grid.alpha[ends].tolist()
        sigma: list[float] = self.grid.sigma[ends].tolist()
        if self.predict_x0:
            return x * libm.quotient(sigma[1], sigma[0]) - f * (alpha[1] * z_phi(1, self._h))
        if sigma[1] == 0:
            return x * (alpha[1] / alpha[0]) - f * (alpha[1] * sigma[0] / alpha[0])
        rise = sigma[1] * z_phi(1, self._h)
        return x * (alpha[1] / alpha[0]) - f * rise

    def predicted(self, past: list[Combination]) -> Combination:
        """What UniP adds to the first-order step (eq. 3 and 8)."""
        if self.p == 1:
            return ZERO
        ratios, differences = self._differences(past)
        weights = np.array([0.5]) if self.p == 2 else self._solve(ratios)
        return self._sum(weights, differences)

    def corrected(self, past: list[Combination], f: Combination) -> Combination:
        """What UniC adds to it, with f the prediction at the step's end (eq. 4 and 9)."""
        ratios, differences = self._differences(past)
        weights = np.array([0.5]) if self.p == 1 else self._solve([*ratios, 1.0])
        return self._sum(weights, [*differences, f - past[0]])

    def _differences(self, past: list[Combination]) -> tuple[list[float], list[Combination]]:
        """r_m and D_m/r_m of the p − 1 nodes before the step's."""
        log_snr = self.grid.log_snr
        h = log_snr[self.i + 1] - log_snr[self.i]
        ratios = [float((log_snr[self.i - m] - log_snr[self.i]) / h) for m in range(1, self.p)]
        return ratios, [(past[m] - past[0]) / ratio for m, ratio in enumerate(ratios, start=1)]

    def _solve(self, ratios: list[float]) -> Array:
        """a_p of R_p(h)·a_p·B(h) = φ_p(h): R's rows powers of r, φ's entries n!·h·φ_{n+1}(h) (eq. 5 to 7)."""
        factorial = np.cumprod(np.arange(1.0, len(ratios) + 1))
        moments = [n * z_phi(k, self._h) for k, n in enumerate(factorial, start=2)]
        return _from_moments(np.array(ratios), np.array(moments) / self._b())

    def _b(self) -> float:
        return self._h if self.variant == "bh1" else z_phi(1, self._h)

    def _sum(self, weights: Array, differences: list[Combination]) -> Combination:
        total = ZERO
        for weight, difference in zip(weights, differences, strict=True):
            total = total + difference * (weight * -self._scale() * self._b())
        return total


def _from_moments(nodes: Array, moments: Array) -> Array:
    """w of Σ_j w_j·nodes_j^i = moments_i, i = 0, 1, .. (Björck & Pereyra 1970; Golub & Van Loan, 4.6.2)."""
    w: Array = moments.copy()
    last = len(nodes) - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        for k in range(last):
            for i in range(last, k, -1):
                w[i] -= nodes[k] * w[i - 1]
        for k in range(last - 1, -1, -1):
            for i in range(k + 1, last + 1):
                w[i] /= nodes[i] - nodes[i - k - 1]
            for i in range(k, last):
                w[i] -= w[i + 1]
    return w

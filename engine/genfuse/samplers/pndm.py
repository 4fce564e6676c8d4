"""PNDM: DDIM's transfer with a slope from several model calls, linear multistep or Runge-Kutta at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import HISTORY, ZERO, Combination, M, X
from genfuse.samplers.grid import Grid
from genfuse.samplers.ipndm import ADAMS_BASHFORTH
from genfuse.samplers.prediction import Prediction, PredictionType, predict
from genfuse.samplers.table import NO_CLIP, Clip, Table, TableBuilder

RUNGE_KUTTA_ROWS = 12
"""Three Runge-Kutta steps of four calls give the three slopes that the multistep formula starts from."""
_TEMPORARY = 3
"""History slot beside the three slopes: what a Runge-Kutta step carries from call to call."""


class Hop(NamedTuple):
    """One row: the model is called at a time, and the sample of one level moves to another."""

    timestep: float
    alpha: float
    sigma: float
    alpha_next: float
    sigma_next: float

    def transfer(self, kind: PredictionType, x: Combination, m: Combination) -> Combination:
        """x at the first level moved to the second along output m (Liu et al. 2022, eq. 11)."""
        of_x, of_m = map(float, predict(kind, self.alpha, self.sigma).epsilon.coefficients[:2])
        epsilon = x * of_x + m * of_m
        growth = self.alpha_next / self.alpha
        return x * growth + epsilon * (self.sigma_next - self.sigma * growth)

    def origin(self, kind: PredictionType, moved: Combination, m: Combination) -> Combination:
        """The x that `transfer` moved along m: its inverse."""
        of_x, of_m = map(float, self.transfer(kind, X, M).coefficients[:2])
        return (moved - m * of_m) / of_x


def pndm(
    grid: Grid, prediction: PredictionType = "epsilon", *, clip: Clip = NO_CLIP, begin: int = 0
) -> Table:
    """The linear multistep method of Liu et al. 2022 (eq. 12), n + 1 rows: the first step is taken twice.

    First by Euler, then again from its start with the slope averaged over both ends; a run that begins in the
    middle starts with Euler alone. begin counts rows.
    """
    steps = len(grid)
    nodes, times = ([0, 0, *range(1, steps)], [0, 1, *range(1, steps)]) if steps > 1 else ([0], [0])
    hops = [
        Hop(grid.timesteps[time], grid.alpha[i], grid.sigma[i], grid.alpha[i + 1], grid.sigma[i + 1])
        for i, time in zip(nodes, times, strict=True)
    ]
    return multistep_table(hops, prediction, clip=clip, begin=begin, again=begin == 0)


def multistep_table(
    hops: Sequence[Hop],
    prediction: PredictionType,
    *,
    clip: Clip = NO_CLIP,
    begin: int = 0,
    again: bool = True,
) -> Table:
    """Rows of the multistep method alone, from hop `begin`; `again`: the one after it takes its step again."""
    builder = TableBuilder()
    _skip(builder, hops[:begin])
    _multistep(builder, hops[begin:], prediction, clip, stored=0, again=again)
    return builder.build()


def runge_kutta_table(hops: Sequence[Hop], prediction: PredictionType, *, clip: Clip = NO_CLIP) -> Table:
    """Three Runge-Kutta steps (Liu et al. 2022, eq. 13), then the multistep method; hops one a row."""
    builder = TableBuilder()
    for step in range(RUNGE_KUTTA_ROWS // 4):
        _runge_kutta(builder, hops[4 * step : 4 * step + 4], prediction, clip, slot=step)
    _multistep(builder, hops[RUNGE_KUTTA_ROWS:], prediction, clip, stored=3, again=False)
    return builder.build()


def _multistep(
    builder: TableBuilder, hops: Sequence[Hop], kind: PredictionType, clip: Clip, *, stored: int, again: bool
) -> None:
    """`stored` slopes are already in slots 0, 1, 2; `again`: the second hop takes the first one's step."""
    for row, hop in enumerate(hops):
        raw, slope, slope_kind = _slope(hop, kind, clip)
        if again and row == 1:
            start = hops[0].origin(slope_kind, X, HISTORY[0])
            y = hop.transfer(slope_kind, start, (slope + HISTORY[0]) / 2)
            builder.row(hop.timestep, raw, y, clip=clip)
            continue
        newest, *older = ADAMS_BASHFORTH[min(stored, 3)]
        average = slope * newest
        for back, weight in enumerate(older, start=1):
            average = average + HISTORY[(stored - back) % 3] * weight
        y = hop.transfer(slope_kind, X, average)
        builder.row(hop.timestep, raw, y, clip=clip, store=slope, slot=stored % 3)
        stored += 1


def _runge_kutta(
    builder: TableBuilder, hops: Sequence[Hop], kind: PredictionType, clip: Clip, *, slot: int
) -> None:
    """Four calls of one step. Each recovers the start from its sample: one stored tensor a row will do."""
    carried = HISTORY[_TEMPORARY]
    first, second, third, last = hops
    raw, slope, slope_kind = _slope(first, kind, clip)
    builder.row(first.timestep, raw, first.transfer(slope_kind, X, slope), clip=clip, store=slope, slot=slot)
    raw, slope, slope_kind = _slope(second, kind, clip)
    start = first.origin(slope_kind, X, HISTORY[slot])
    y = second.transfer(slope_kind, start, slope)
    builder.row(second.timestep, raw, y, clip=clip, store=slope, slot=_TEMPORARY)
    raw, slope, slope_kind = _slope(third, kind, clip)
    start = second.origin(slope_kind, X, carried)
    y = third.transfer(slope_kind, start, slope)
    # all of the last transfer but the slope that the last call will bring
    partial = last.transfer(slope_kind, start, HISTORY[slot] / 6 + carried / 3 + slope / 3)
    builder.row(third.timestep, raw, y, clip=clip, store=partial, slot=_TEMPORARY)
    raw, slope, slope_kind = _slope(last, kind, clip)
    y = carried + last.transfer(slope_kind, ZERO, slope / 6)
    builder.row(last.timestep, raw, y, clip=clip)


def _slope(hop: Hop, kind: PredictionType, clip: Clip) -> tuple[Prediction, Combination, PredictionType]:
    """(the row's x0, what is averaged, as which prediction): the output, or epsilon where x0 is clipped."""
    raw = predict(kind, hop.alpha, hop.sigma)
    if clip == NO_CLIP:
        return raw, M, kind
    return raw, clipped(raw, clip, hop.alpha, hop.sigma).epsilon, "epsilon"


def _skip(builder: TableBuilder, hops: Sequence[Hop]) -> None:
    for hop in hops:
        builder.row(hop.timestep, Prediction(ZERO, ZERO), ZERO)

"""SA-Solver: a stochastic Adams predictor and corrector for the diffusion SDE with any amount of noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from genfuse.names import check_name
from genfuse.samplers import libm
from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import HISTORY, NOISE, ZERO, Combination, X
from genfuse.samplers.exponential import exponential_weights
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.table import NO_CLIP, Clip, Table

ORDERS = (1, 2, 3, 4)
Parametrization = Literal["data_prediction", "noise_prediction"]


def noise_in_the_middle(timestep: float) -> float:
    """tau of the paper's latent experiments: 1 from timestep 200 to 800 of 1000, else 0."""
    return 1.0 if 200 <= timestep <= 800 else 0.0


def sa_solver(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    predictor_order: int = 2,
    corrector_order: int = 2,
    tau: Callable[[float], float] = noise_in_the_middle,
    parametrization: Parametrization = "data_prediction",
    lower_order_final: bool = True,
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """SA-Predictor and SA-Corrector (Xue et al. 2023, eq. 14 and 17), tau constant over each step.

    The corrector repeats the predictor's step with the output at its end known. Both start from the same
    sample and add the same noise, so their difference is linear in the outputs alone, and one row both
    corrects the sample it is given and predicts the next: x_corrected = x + Σ (c_j − p_j)·output_j.

    tau                timestep → share of noise, 0 the ODE, 1 the SDE; taken at the start of a step
    predictor_order, corrector_order  1 to 4; fewer in the first rows and, with lower_order_final, the last
    parametrization    what is interpolated: x0 or epsilon. At order 2 of x0 the slope's weight is h²/2, which
                       differs by O(h³) from the exact one and does better with few steps (ibid., appendix).
    """
    for name, order in (("predictor_order", predictor_order), ("corrector_order", corrector_order)):
        if order not in ORDERS:
            raise ValueError(f"{name} is {order!r}, expected one of {ORDERS}")
    check_name("parametrization", parametrization, ("data_prediction", "noise_prediction"))
    builder = begun_table(grid, begin)
    steps, slots = len(grid), max(predictor_order, corrector_order - 1)
    predicted: dict[int, float] = {}
    for i in range(begin, steps):
        raw = predict_at(prediction, grid, i)
        now = clipped(raw, clip, grid.alpha[i], grid.sigma[i])
        output = now.x0 if parametrization == "data_prediction" else now.epsilon

        corrected = X
        if i > begin:
            order = min(corrector_order, i - begin + 1, *([steps - i + 2] if lower_order_final else []))
            before = float(tau(grid.timesteps[i - 1]))
            known = _weights(grid, i - 1, range(i, i - order, -1), before, parametrization)
            change = {j: known.get(j, 0.0) - predicted.get(j, 0.0) for j in {**known, **predicted}}
            corrected = X + _combine(change, i, output, slots)

        tau_now = float(tau(grid.timesteps[i]))
        order = min(predictor_order, i - begin + 1, *([steps - i] if lower_order_final else []))
        order = order if grid.sigma[i + 1] > 0 else 1
        predicted = _weights(grid, i, range(i, i - order, -1), tau_now, parametrization)
        decay, noise = _decay_and_noise(grid, i, tau_now, parametrization)
        y = corrected * decay + _combine(predicted, i, output, slots) + NOISE * noise
        builder.row(grid.timesteps[i], raw, y, clip=clip, store=output, slot=i % slots)
    return builder.build()


def _combine(weights: dict[int, float], i: int, output: Combination, slots: int) -> Combination:
    total = ZERO
    for j, weight in weights.items():
        total = total + (output if j == i else HISTORY[j % slots]) * weight
    return total


def _weights(
    grid: Grid, start: int, nodes: range, tau: float, parametrization: Parametrization
) -> dict[int, float]:
    """What each output at `nodes`, the newest first, adds to the step from node `start` to the next."""
    log_snr = grid.log_snr
    used = [nodes[0]] + [j for j in nodes[1:] if np.isfinite(log_snr[j])]
    begin, end, share = log_snr[start], log_snr[start + 1], 1.0 + tau**2
    if parametrization == "noise_prediction":
        weights = -share * grid.sigma[start + 1] * exponential_weights(log_snr[used], begin, end, rate=-1.0)
    elif len(used) == 2:
        slope = share * (end - begin) ** 2 / 2 / (log_snr[used[0]] - log_snr[used[1]])
        weights = np.array([slope, -slope])
        weights[used.index(start)] -= libm.expm1(-share * (end - begin))
        weights *= grid.alpha[start + 1]
    else:
        weights = share * grid.alpha[start + 1] * exponential_weights(log_snr[used], begin, end, rate=share)
    return dict(zip(used, weights.tolist(), strict=True))


def _decay_and_noise(grid: Grid, i: int, tau: float, parametrization: Parametrization) -> tuple[float, float]:
    """What the sample is multiplied by over step i, and the standard deviation of its noise."""
    step = grid.log_snr[i + 1] - grid.log_snr[i]
    if parametrization == "noise_prediction":
        noise = tau * grid.sigma[i + 1] * np.sqrt(libm.expm1(2 * step)) if tau > 0 else 0.0
        return float(grid.alpha[i + 1] / grid.alpha[i]), float(noise)
    if tau == 0:
        return float(grid.sigma[i + 1] / grid.sigma[i]), 0.0
    decay = float(libm.exp(-(tau**2) * step)) * grid.sigma[i + 1] / grid.sigma[i]
    return float(decay), float(grid.sigma[i + 1] * np.sqrt(-libm.expm1(-2 * tau**2 * step)))

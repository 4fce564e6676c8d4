"""UniPC against the paper's equations with the sample before kept, and its tables' other promises."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch

from genfuse.samplers.grid import Grid
from genfuse.samplers.table import Table
from genfuse.samplers.unipc import unipc
from genfuse_kernels.sampler_step.reference import sampler_step
from genfuse_kernels.sampler_step.row import COLUMN

LOG_SNR = [-2.0, -1.3, -0.8, -0.1, 0.5, 0.9, 1.6]


def vp_grid(log_snr: list[float]) -> Grid:
    ratio = np.exp(-np.array(log_snr))
    return Grid(np.linspace(1000, 1, len(ratio) - 1), 1 / np.hypot(1, ratio), ratio / np.hypot(1, ratio))


def run(table: Table, x: float, outputs: list[float], begin: int = 0) -> list[float]:
    sample = torch.full((1, 1), x, dtype=torch.float64)
    history = [torch.full_like(sample, math.nan) for _ in range(table.history_slots)]
    samples = []
    for i in range(begin, len(table)):
        output = torch.full_like(sample, outputs[i])
        sample, stored = sampler_step(sample, output, table.rows, i, history=history)
        slot = int(table.rows[i, COLUMN["store"]])
        if slot < len(history):
            history[slot] = stored
        samples.append(float(sample))
    return samples


def update(grid: Grid, s: int, nodes: list[int], x: Any, f: dict[int, Any], data: bool, variant: str) -> Any:
    """Zhao et al. 2023, eq. 3 and 8: from node s with differences to `nodes`, a_p = (R_p B(h))^−1 φ_p"""
    alpha, sigma, lam = (list(map(mpmath.mpf, v.tolist())) for v in (grid.alpha, grid.sigma, grid.log_snr))
    t, h = s + 1, lam[s + 1] - lam[s]
    z = -h if data else h
    first = sigma[t] / sigma[s] * x if data else alpha[t] / alpha[s] * x
    scale = alpha[t] if data else sigma[t]
    total = first - scale * mpmath.expm1(z) * f[s]
    if not nodes:
        return total
    r = [(lam[n] - lam[s]) / h for n in nodes]
    b = z if variant == "bh1" else mpmath.expm1(z)
    moments = [
        z * mpmath.quad(lambda u, k=k: mpmath.exp((1 - u) * z) * u**k, [0, 1]) for k in range(1, len(r) + 1)
    ]
    simple = len(r) == 1
    matrix = mpmath.matrix([[value**k for value in r] for k in range(len(r))])
    a = [mpmath.mpf("0.5")] if simple else list(mpmath.lu_solve(matrix, mpmath.matrix(moments)) / b)
    return total - scale * b * sum(w * (f[n] - f[s]) / value for w, n, value in zip(a, nodes, r, strict=True))


@pytest.mark.parametrize("data", [True, False])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_folded_corrector_is_the_papers(data: bool, variant: Any, order: int) -> None:
    """The sample before and the corrected sample kept, in 30 digits; ours keeps neither."""
    grid = vp_grid(LOG_SNR)
    kind: Any = "sample" if data else "epsilon"
    outputs = [math.sin(1.7 * i + 0.4) for i in range(len(grid))]
    table = unipc(grid, kind, order=order, predict_x0=data, variant=variant, disable_corrector=[3])
    got = run(table, 0.7, outputs)
    with mpmath.workdps(30):
        f = dict(enumerate(map(mpmath.mpf, outputs)))
        corrected, predicted, p = mpmath.mpf(0.7), mpmath.mpf(0.7), 0
        for i in range(len(grid)):
            before = corrected
            corrected = predicted
            if i > 0 and i - 1 != 3:
                nodes = [*range(i - 2, i - 1 - p, -1), i]
                corrected = update(grid, i - 1, nodes, before, f, data, variant)
            p = min(order, i + 1, len(grid) - i)
            predicted = update(grid, i, list(range(i - 1, i - p, -1)), corrected, f, data, variant)
            assert got[i] == pytest.approx(float(predicted), rel=1e-11)


def test_begin_is_a_run_of_the_nodes_left() -> None:
    grid, begin = vp_grid(LOG_SNR), 2
    tail = Grid(grid.timesteps[begin:], grid.alpha[begin:], grid.sigma[begin:])
    outputs = [math.cos(i) for i in range(len(grid))]
    table = unipc(grid, "v_prediction", order=3, begin=begin)
    assert not table.rows[:begin, COLUMN["y_x"] : COLUMN["store"]].any()
    expected = run(unipc(tail, "v_prediction", order=3), 0.2, outputs[begin:])
    assert run(table, 0.2, outputs, begin) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("lower_order_final", [True, False])
def test_ends_are_limits(variant: Any, order: int, lower_order_final: bool) -> None:
    """From no signal to no noise: the first row is DDIM from pure noise, the last gives x0."""
    grid = vp_grid([-20.0, *LOG_SNR[1:], 20.0])
    grid.alpha[[0, -1]], grid.sigma[[0, -1]] = [0.0, 1.0], [1.0, 0.0]
    table = unipc(grid, "v_prediction", order=order, variant=variant, lower_order_final=lower_order_final)
    outputs = [math.cos(i) for i in range(len(grid))]
    samples = run(table, 0.3, outputs)
    assert samples[0] == pytest.approx(grid.sigma[1] * 0.3 - grid.alpha[1] * outputs[0], rel=1e-12)
    x0 = grid.alpha[-2] * samples[-2] - grid.sigma[-2] * outputs[-1]
    assert samples[-1] == pytest.approx(x0, rel=1e-10)


def test_bad_options() -> None:
    grid = vp_grid(LOG_SNR)
    with pytest.raises(ValueError, match="order is 5, expected 1 to 4"):
        unipc(grid, order=5)
    with pytest.raises(ValueError, match="variant is 'bh3', expected one of 'bh1', 'bh2'"):
        unipc(grid, variant="bh3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="begin is 6"):
        unipc(grid, begin=6)

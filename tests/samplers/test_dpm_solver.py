"""DPM-Solver, multistep and singlestep, against the papers' equations written out here."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse.samplers.dpm_solver import dpmpp_multistep
from genfuse.samplers.dpm_solver_singlestep import dpmpp_singlestep, singlestep_orders
from genfuse.samplers.dpm_step import dpm_step
from genfuse.samplers.grid import Grid
from genfuse.samplers.phi import phi, z_phi
from genfuse.samplers.table import Table
from genfuse_kernels.sampler_step.reference import sampler_step
from genfuse_kernels.sampler_step.row import COLUMN


def vp_grid(log_snr: list[float], *, to_zero: bool = False) -> Grid:
    """Variance-preserving nodes at these log SNRs (alpha/sigma = e^lambda), times 1000 down to 1."""
    ratio = np.exp(-np.array(log_snr))
    alpha, sigma = 1 / np.hypot(1, ratio), ratio / np.hypot(1, ratio)
    if to_zero:
        alpha, sigma = np.append(alpha, 1.0), np.append(sigma, 0.0)
    return Grid(np.linspace(1000, 1, len(alpha) - 1), alpha, sigma)


def run(
    table: Table, x: Tensor, outputs: list[Tensor], noises: list[Tensor] | None = None, begin: int = 0
) -> list[Tensor]:
    """The table over given model outputs, by the reference; the samples after each row."""
    history = [torch.full_like(x, math.nan) for _ in range(table.history_slots)]
    samples = []
    for i in range(begin, len(table)):
        noise = None if noises is None else noises[i]
        noise_prev = None if noises is None or i == 0 else noises[i - 1]
        y, stored = sampler_step(
            x, outputs[i], table.rows, i, history=history, noise=noise, noise_prev=noise_prev
        )
        slot = int(table.rows[i, COLUMN["store"]])
        if 0 <= slot < len(history):
            history[slot] = stored
        samples.append(y)
        x = y
    return samples


def tensors(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(2, 3, dtype=torch.float64, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("z", [-40.0, -3.0, -1.0, -0.999, -1e-3, -1e-9, 0.0, 1e-6, 0.5, 1.0, 6.0])
def test_phi_is_its_integral(k: int, z: float) -> None:
    with mpmath.workdps(40):
        integral = mpmath.quad(
            lambda u: mpmath.exp((1 - u) * z) * u ** (k - 1) / mpmath.factorial(k - 1), [0, 0.5, 1]
        )
        assert phi(k, z) == pytest.approx(float(integral), rel=1e-13)


def test_phi_at_an_infinite_interval() -> None:
    assert [z_phi(k, -math.inf) for k in (1, 2, 3)] == [-1.0, -1.0, -0.5]
    assert z_phi(2, -1e9) == pytest.approx(-1.0, rel=1e-8)


@pytest.mark.parametrize("algorithm", ["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"])
def test_a_step_is_the_exact_integral(algorithm: Any) -> None:
    """x' of the linear (stochastic) equation for a prediction 1, u and u²/2, by quadrature over lambda."""
    grid = vp_grid([-1.0, 0.4])
    step = dpm_step(algorithm, grid, 0, 1)
    a0, s0, a1, s1 = grid.alpha[0], grid.sigma[0], grid.alpha[1], grid.sigma[1]
    start, h = mpmath.mpf(-1.0), mpmath.mpf(1.4)
    data, stochastic = algorithm.endswith("++"), algorithm.startswith("sde")
    for k, weight in enumerate(step.weights):

        def integrand(lam: Any, k: int = k) -> Any:
            derivative = ((lam - start) / h) ** k / mpmath.factorial(k)
            if data:  # alpha' ∫ e^{rate·(lambda − lambda')}·rate·x0
                rate = 2 if stochastic else 1
                return a1 * rate * mpmath.exp(rate * (lam - start - h)) * derivative
            return -(2 if stochastic else 1) * s1 * mpmath.exp(start + h - lam) * derivative

        assert weight == pytest.approx(float(mpmath.quad(integrand, [start, start + h])), rel=1e-12)
    h = float(h)
    carry = s1 / s0 * (math.exp(-h) if stochastic else 1.0) if data else a1 / a0
    assert step.carry == pytest.approx(carry, rel=1e-14)
    variance = s1**2 * ((1 - math.exp(-2 * h)) if data else (math.exp(2 * h) - 1)) if stochastic else 0.0
    assert step.noise**2 == pytest.approx(variance, rel=1e-12)


def test_dpmpp_2m_is_algorithm_2() -> None:
    """Lu et al. 2022b, algorithm 2: D = (1 + 1/2r)·x0_i − x0_{i−1}/2r; first and last of order 1."""
    grid = vp_grid([-2.0, -1.1, -0.3, 0.6], to_zero=True)
    x, outputs = tensors(1)[0], tensors(5)[1:]
    lam = grid.log_snr
    expected, d_before = x, None
    got = run(dpmpp_multistep(grid, "sample"), x, outputs)
    for i in range(4):
        h = lam[i + 1] - lam[i]
        d = outputs[i]
        if d_before is not None and i < 3:
            r = (lam[i] - lam[i - 1]) / h
            d = (1 + 1 / (2 * r)) * outputs[i] - 1 / (2 * r) * d_before
        expected = grid.sigma[i + 1] / grid.sigma[i] * expected - grid.alpha[i + 1] * math.expm1(-h) * d
        d_before = outputs[i]
        torch.testing.assert_close(got[i], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got[-1], outputs[-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("curvature", ["exact", "published"])
def test_dpmpp_3m(curvature: Any) -> None:
    """Third order: exact for a quadratic x0; as published the curvature has half its weight."""
    grid = vp_grid([-1.5, -1.0, -0.2, 0.3, 0.8])
    lam = grid.log_snr
    polynomial = [1.0 + 0.5 * v - 0.7 * v**2 for v in lam]
    outputs = [torch.full((1, 1), p, dtype=torch.float64) for p in polynomial]
    table = dpmpp_multistep(grid, "sample", order=3, lower_order_final=False, curvature=curvature)
    x2 = torch.full((1, 1), 0.3, dtype=torch.float64)
    samples = run(table, x2, outputs)
    h = lam[3] - lam[2]
    exact = float(mpmath.quad(lambda v: mpmath.exp(v) * (1.0 + 0.5 * v - 0.7 * v**2), [lam[2], lam[3]]))
    expected = grid.sigma[3] / grid.sigma[2] * float(samples[1]) + grid.sigma[3] * exact
    if curvature == "published":
        expected -= grid.alpha[3] * h * phi(3, -h) * (-1.4 * h**2) / 2
    assert float(samples[2]) == pytest.approx(expected, rel=1e-12)


def test_dpm_solver_2_is_algorithm_1() -> None:
    """Lu et al. 2022a, algorithm 1: half a step to u, then alpha'/alpha·x − sigma'·(e^h − 1)·eps(u)."""
    grid = vp_grid([-1.0, -0.5, 0.0])
    x, *outputs = tensors(3)
    table = dpmpp_singlestep(grid, "epsilon", order=2, algorithm="dpmsolver", lower_order_final=False)
    u, end = run(table, x, outputs)
    a, s = grid.alpha, grid.sigma
    torch.testing.assert_close(
        u, a[1] / a[0] * x - s[1] * math.expm1(0.5) * outputs[0], rtol=1e-12, atol=1e-12
    )
    expected = a[2] / a[0] * x - s[2] * math.expm1(1.0) * outputs[1]
    torch.testing.assert_close(end, expected, rtol=1e-12, atol=1e-12)


def test_dpm_solver_3_is_algorithm_2() -> None:
    """Lu et al. 2022a, algorithm 2 with r1 = 1/3, r2 = 2/3 ("heun" weighs the inner slope as it does)."""
    h = 0.9
    grid = vp_grid([-1.0, -1.0 + h / 3, -1.0 + 2 * h / 3, -1.0 + h])
    x, *eps = tensors(4)
    a, s = grid.alpha, grid.sigma
    heun = dpmpp_singlestep(
        grid, "epsilon", order=3, algorithm="dpmsolver", solver_type="heun", lower_order_final=False
    )
    second = run(heun, x, eps)[1]
    r1, r2 = 1 / 3, 2 / 3
    expected = (
        a[2] / a[0] * x
        - s[2] * math.expm1(r2 * h) * eps[0]
        - s[2] * r2 / r1 * (math.expm1(r2 * h) / (r2 * h) - 1) * (eps[1] - eps[0])
    )
    torch.testing.assert_close(second, expected, rtol=1e-12, atol=1e-12)
    midpoint = dpmpp_singlestep(grid, "epsilon", order=3, algorithm="dpmsolver", lower_order_final=False)
    third = run(midpoint, x, eps)[2]
    expected = (
        a[3] / a[0] * x
        - s[3] * math.expm1(h) * eps[0]
        - s[3] / r2 * (math.expm1(h) / h - 1) * (eps[2] - eps[0])
    )
    torch.testing.assert_close(third, expected, rtol=1e-12, atol=1e-12)


def test_singlestep_noise_is_fresh_at_every_row() -> None:
    """A group starts over: its end has the noise of its own last row alone."""
    grid = vp_grid([-1.0, -0.4, 0.1, 0.7])
    table = dpmpp_singlestep(grid, "sample", order=3, algorithm="sde-dpmsolver++", lower_order_final=False)
    x, *outputs = tensors(4)
    zero = [torch.zeros_like(x)] * 3
    noises = tensors(8)[5:]
    for last in range(3):
        step = dpm_step("sde-dpmsolver++", grid, 0, last + 1)
        added = run(table, x, outputs, noises)[last] - run(table, x, outputs, zero)[last]
        torch.testing.assert_close(added, step.noise * noises[last], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("steps", "order", "orders"),
    [
        (6, 3, [1, 2, 3, 1, 2, 1]),
        (7, 3, [1, 2, 3, 1, 2, 3, 1]),
        (8, 3, [1, 2, 3, 1, 2, 3, 1, 2]),
        (4, 2, [1, 2, 1, 1]),
        (5, 2, [1, 2, 1, 2, 1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_singlestep_orders(steps: int, order: int, orders: list[int]) -> None:
    assert singlestep_orders(steps, order, final_zero=False) == orders
    assert singlestep_orders(steps, order) == [*orders[:-1], 1]


@pytest.mark.parametrize("build", [dpmpp_multistep, dpmpp_singlestep])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_begin_starts_with_low_order(build: Any, order: int) -> None:
    """A multistep run from the middle is that of the nodes from there on; rows before it are empty."""
    grid = vp_grid([-2.0, -1.4, -0.7, 0.0, 0.5, 1.1, 1.6], to_zero=True)
    begin = 3
    table = build(grid, "sample", order=order, begin=begin)
    assert not table.rows[:begin, COLUMN["y_x"] : COLUMN["store"]].any()
    tail = Grid(grid.timesteps[begin:], grid.alpha[begin:], grid.sigma[begin:])
    x, *outputs = tensors(len(grid) + 1)
    got = run(table, x, outputs, begin=begin)
    if build is dpmpp_multistep:
        expected = run(build(tail, "sample", order=order), x, outputs[begin:])
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    assert all(bool(torch.isfinite(y).all()) for y in got)


@pytest.mark.parametrize("build", [dpmpp_multistep, dpmpp_singlestep])
@pytest.mark.parametrize("algorithm", ["dpmsolver++", "sde-dpmsolver++"])
@pytest.mark.parametrize("order", [2, 3])
def test_a_node_without_signal(build: Any, algorithm: Any, order: int) -> None:
    """Zero terminal SNR: the interval behind is infinite and gives no derivative."""
    grid = vp_grid([-9.0, -2.0, -1.0, 0.0, 1.0], to_zero=True)
    grid.alpha[0], grid.sigma[0] = 0.0, 1.0
    rows = build(grid, "v_prediction", order=order, algorithm=algorithm).rows
    low = dpmpp_multistep(grid, "v_prediction", order=1, algorithm=algorithm).rows
    terms = slice(COLUMN["y_x"], COLUMN["y_noise_prev"] + 1)
    torch.testing.assert_close(rows[:2, terms], low[:2, terms], rtol=1e-12, atol=1e-14)
    if build is dpmpp_multistep:
        assert bool((rows[2, terms] - low[2, terms]).abs().max() > 1e-3)


@pytest.mark.parametrize("build", [dpmpp_multistep, dpmpp_singlestep])
def test_bad_options(build: Any) -> None:
    grid = vp_grid([-1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="order is 4, expected 1, 2 or 3"):
        build(grid, order=4)
    with pytest.raises(ValueError, match="algorithm is 'dpmsolver\\+', expected one of"):
        build(grid, algorithm="dpmsolver+")
    with pytest.raises(ValueError, match="did you mean 'midpoint'"):
        build(grid, solver_type="midpont")
    with pytest.raises(ValueError, match="begin is 2, expected 0 to 1"):
        build(grid, begin=2)
    with pytest.raises(ValueError, match="curvature is"):
        build(grid, curvature="flat")
    with pytest.raises(ValueError, match="gains noise from node 0 to 1"):
        build(vp_grid([1.0, 0.0, -1.0]), algorithm="sde-dpmsolver++")
    with pytest.raises(ValueError, match="prediction is 'eps'"):
        build(grid, "eps")


def test_singlestep_steps_must_fill_groups() -> None:
    with pytest.raises(ValueError, match="3 steps and order is 2, expected a multiple of it"):
        dpmpp_singlestep(vp_grid([-1.0, 0.0, 0.5, 1.0]), order=2, lower_order_final=False)

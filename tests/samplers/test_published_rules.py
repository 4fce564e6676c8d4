"""Tables against the update rules as their papers print them, evaluated here in mpmath or plain float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse.samplers import EDM, Sampler
from genfuse.samplers.churn import Churn
from genfuse.samplers.ddim import ddim
from genfuse.samplers.deis import deis
from genfuse.samplers.exponential import exponential_weights
from genfuse.samplers.flow import flow_euler, flow_heun, flow_stochastic
from genfuse.samplers.grid import Grid
from genfuse.samplers.ipndm import ipndm
from genfuse.samplers.lcm import lcm
from genfuse.samplers.sa_solver import sa_solver
from genfuse.samplers.schedule import noise_schedule
from genfuse.samplers.spacing import spaced_timesteps, timestep_grid
from genfuse.samplers.table import Clip, Table
from genfuse.samplers.tcd import landing_times, tcd
from genfuse_kernels.sampler_step.reference import sampler_step
from genfuse_kernels.sampler_step.row import COLUMN
from samplers.gaussian_mixture import flow_grid, vp_grid

ROUNDING = 1e-12


def row_of(table: Table, row: int) -> dict[str, float]:
    return {name: float(table.rows[row, column]) for name, column in COLUMN.items()}


def network(x: Tensor, time: float) -> Tensor:
    return torch.tanh(0.7 * x + time / 1000)


def run(table: Table, x: Tensor, noises: Sequence[Tensor]) -> Tensor:
    """The last sample of a table over `network`, with the given noise at each row."""
    history: dict[int, Tensor] = {}
    for row, noise in enumerate(noises):
        output = network(x * float(table.input_scale[row]), float(table.timesteps[row]))
        slots = [history.get(slot, torch.full_like(x, torch.nan)) for slot in range(4)]
        x, stored = sampler_step(x, output, table.rows, row, history=slots, noise=noise)
        if table.rows[row, COLUMN["store"]] >= 0:
            history[int(table.rows[row, COLUMN["store"]])] = stored
    return x


def start(rows: int) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(4)
    noises = torch.randn(rows + 1, 1, 8, generator=generator, dtype=torch.float64)
    return noises[-1], list(noises[:-1])


def lagrange_integral(
    nodes: Sequence[float], j: int, begin: float, end: float, weight: Callable[[Any], Any]
) -> float:
    """∫ weight(u)·L_j(u) du, to 20 digits."""
    with mpmath.workdps(20):

        def integrand(u: Any) -> Any:
            value = weight(u)
            for k, node in enumerate(nodes):
                if k != j:
                    value *= (u - mpmath.mpf(node)) / (mpmath.mpf(nodes[j]) - mpmath.mpf(node))
            return value

        return float(mpmath.quad(integrand, [mpmath.mpf(begin), mpmath.mpf(end)], method="gauss-legendre"))


@pytest.mark.parametrize("rate", [-1.0, 1.0, 2.0])
@pytest.mark.parametrize("step", [1e-3, 0.3, 6.0])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_exponential_weights(rate: float, step: float, count: int) -> None:
    nodes = np.array([0.4, 0.4 - step, 0.4 - 2.5 * step, 0.4 - 3 * step])[:count]
    end = 0.4 + 0.9 * step
    got = exponential_weights(nodes, 0.4, end, rate)
    for j in range(count):
        expected = lagrange_integral(list(nodes), j, 0.4, end, lambda u: mpmath.exp(rate * (u - end)))
        assert got[j] == pytest.approx(expected, rel=ROUNDING)


def test_a_step_to_no_noise_has_the_limit_of_its_weight() -> None:
    assert exponential_weights(np.array([0.0]), 0.0, np.inf, 2.0) == pytest.approx(0.5)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis_coefficients(order: int) -> None:
    """x' = alpha'·(x/alpha + Σ C_j·epsilon_j), C_j = ∫ L_j(log r) dr (Zhang & Chen 2022, eq. 15)."""
    grid = vp_grid(6)
    row, values = 3, row_of(deis(grid, "epsilon", order=order), 3)
    log_rho = list(-grid.log_snr[[row - j for j in range(order)]])
    weights = [
        lagrange_integral(log_rho, j, -grid.log_snr[row], -grid.log_snr[row + 1], mpmath.exp)
        for j in range(order)
    ]
    alpha = grid.alpha[row + 1]
    assert values["y_x"] == pytest.approx(alpha / grid.alpha[row], rel=ROUNDING)
    assert values["y_m"] == pytest.approx(alpha * weights[0], rel=1e-11)
    slots = max(order - 1, 1)
    for j in range(1, order):
        assert values[f"y_h{(row - j) % slots}"] == pytest.approx(alpha * weights[j], rel=1e-11)


def test_deis_of_order_1_is_ddim() -> None:
    """x' = alpha'/alpha·x + (sigma' − sigma·alpha'/alpha)·epsilon (Song et al. 2021, eq. 12)."""
    grid = vp_grid(6)
    rows = deis(grid, order=1).rows.numpy()
    ratio = grid.alpha[1:] / grid.alpha[:-1]
    np.testing.assert_allclose(rows[:, COLUMN["y_x"]], ratio, rtol=ROUNDING)
    np.testing.assert_allclose(
        rows[:, COLUMN["y_m"]], grid.sigma[1:] - grid.sigma[:-1] * ratio, rtol=ROUNDING
    )


def sa_solver_as_printed(
    grid: Grid, predictor: int, corrector: int, tau: float, x: Tensor, noises: list[Tensor]
) -> Tensor:
    """Predict, evaluate, correct (Xue et al. 2023, algorithm 1), from the last corrected sample."""
    lam = grid.log_snr
    outputs: list[Tensor] = []
    corrected = last = x

    def advance(begin: Tensor, i: int, nodes: list[int], noise: Tensor) -> Tensor:
        """Eq. 14 and 17: from node i to i + 1 through the outputs at `nodes`."""
        h, share = lam[i + 1] - lam[i], 1 + tau**2
        y = np.exp(-(tau**2) * h) * grid.sigma[i + 1] / grid.sigma[i] * begin
        if len(nodes) == 2:
            # The authors' modification: the slope's weight is h²/2, not the integral's.
            slope = (outputs[nodes[0]] - outputs[nodes[1]]) / (lam[nodes[0]] - lam[nodes[1]])
            y = y + grid.alpha[i + 1] * ((1 - np.exp(-share * h)) * outputs[i] + share * h**2 / 2 * slope)
            nodes = []
        for j, node in enumerate(nodes):
            weight = lagrange_integral(
                [lam[k] for k in nodes], j, lam[i], lam[i + 1], lambda u: mpmath.exp(share * (u - lam[i + 1]))
            )
            y = y + share * grid.alpha[i + 1] * weight * outputs[node]
        return y + grid.sigma[i + 1] * np.sqrt(1 - np.exp(-2 * tau**2 * h)) * noise

    for i in range(len(grid)):
        m = network(x, float(grid.timesteps[i]))
        outputs.append((x - grid.sigma[i] * m) / grid.alpha[i])
        if i == 0:
            corrected = x
        else:
            nodes = list(range(i, max(i - corrector, -1), -1))
            corrected = advance(last, i - 1, nodes, noises[i - 1])
        x = advance(corrected, i, list(range(i, max(i - predictor, -1), -1)), noises[i])
        last = corrected
    return x


@pytest.mark.parametrize("tau", [0.0, 0.6])
@pytest.mark.parametrize(("predictor", "corrector"), [(1, 1), (2, 2), (3, 3), (3, 4), (4, 3)])
def test_sa_solver_folds_its_corrector_onto_the_predicted_sample(
    tau: float, predictor: int, corrector: int
) -> None:
    grid = vp_grid(5)
    table = sa_solver(
        grid,
        predictor_order=predictor,
        corrector_order=corrector,
        tau=lambda t: tau,
        parametrization="data_prediction",
        lower_order_final=False,
    )
    x, noises = start(len(grid))
    expected = sa_solver_as_printed(grid, predictor, corrector, tau, x, noises)
    torch.testing.assert_close(run(table, x, noises), expected, rtol=1e-11, atol=1e-11)


def test_ipndm() -> None:
    """Liu et al. 2022, eq. 11 and 12, with fewer slopes at the start."""
    grid = vp_grid(7)
    weights = ([1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24])
    x, noises = start(len(grid))
    got = run(ipndm(grid, "epsilon"), x, noises)
    slopes: list[Tensor] = []
    for i in range(len(grid)):
        slopes.insert(0, network(x, float(grid.timesteps[i])))
        used = weights[min(i, 3)]
        average = sum((w * e for w, e in zip(used, slopes, strict=False)), torch.zeros_like(x))
        x0 = (x - grid.sigma[i] * average) / grid.alpha[i]
        x = grid.alpha[i + 1] * x0 + grid.sigma[i + 1] * average
    torch.testing.assert_close(got, x, rtol=ROUNDING, atol=ROUNDING)


SCHEDULE = noise_schedule("scaled_linear", beta_start=0.00085, beta_end=0.012)


def test_lcm() -> None:
    """Luo et al. 2023, algorithm 3, with the boundary condition of Song et al. 2023."""
    grid = timestep_grid(SCHEDULE, spaced_timesteps("trailing", 4, 1000))
    x, noises = start(len(grid))
    got = run(lcm(grid, "v_prediction"), x, noises)
    for i, t in enumerate(grid.timesteps):
        x0 = grid.alpha[i] * x - grid.sigma[i] * network(x, float(t))
        f = 0.25 / ((10 * t) ** 2 + 0.25) * x + 10 * t / np.sqrt((10 * t) ** 2 + 0.25) * x0
        x = grid.alpha[i + 1] * f + grid.sigma[i + 1] * noises[i]
    torch.testing.assert_close(got, x, rtol=ROUNDING, atol=ROUNDING)


def test_lcm_leaves_a_clean_sample_alone() -> None:
    grid = Grid(timesteps=np.zeros(1), alpha=np.array([0.9996, 1.0]), sigma=np.sqrt([1 - 0.9996**2, 0.0]))
    values = row_of(lcm(grid), 0)
    assert (values["y_x"], values["y_x0"], values["y_noise"]) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_tcd_keeps_the_marginals(eta: float) -> None:
    """Given the true x0 and epsilon every jump lands on the next node's signal and total noise."""
    grid = timestep_grid(SCHEDULE, spaced_timesteps("trailing", 5, 1000))
    table = tcd(grid, "epsilon", schedule=SCHEDULE, eta=eta)
    for i in range(len(grid)):
        values = row_of(table, i)
        signal = values["y_x"] * grid.alpha[i]
        noise = values["y_x"] * grid.sigma[i] + values["y_m"]
        assert signal == pytest.approx(grid.alpha[i + 1], rel=ROUNDING)
        assert np.hypot(noise, values["y_noise"]) == pytest.approx(grid.sigma[i + 1], abs=1e-9)
        assert (values["y_noise"] > 0) == (eta > 0 and i < len(grid) - 1)


def test_tcd_without_noise_is_ddim() -> None:
    grid = timestep_grid(SCHEDULE, spaced_timesteps("trailing", 5, 1000))
    x, noises = start(len(grid))
    table = tcd(grid, "epsilon", schedule=SCHEDULE, eta=0.0)
    torch.testing.assert_close(run(table, x, noises), run(ddim(grid), x, noises), rtol=1e-10, atol=1e-10)


def test_landing_times_are_floored_in_float32() -> None:
    assert landing_times(np.array([999.0, 10.0, 3.0]), 0.3).tolist() == [7, 2]


@pytest.mark.parametrize("churn", [Churn(), Churn(3.0, 0.1, 5.0, 1.01), Churn(80.0)])
def test_edm_euler(churn: Churn) -> None:
    """Karras et al. 2022, algorithm 2 without lines 8 to 10, the network run at sigma."""
    sampler = Sampler(
        "euler", 6, schedule=EDM(0.02, 20.0), s_churn=churn.churn, s_tmin=churn.minimum,
        s_tmax=churn.maximum, s_noise=churn.noise,
    )  # fmt: skip
    grid = sampler.grid
    ramp = np.linspace(20 ** (1 / 7), 0.02 ** (1 / 7), 6) ** 7  # ibid., eq. 5
    sigma = np.append(ramp, 0.0)
    np.testing.assert_allclose(grid.sigma, sigma, rtol=1e-13)
    x, noises = start(len(grid))
    x = 20 * x
    got = run(sampler.table, x, noises)
    for i in range(6):
        inside = churn.minimum <= sigma[i] <= churn.maximum
        gamma = min(churn.churn / 6, np.sqrt(2) - 1) if inside else 0.0
        hat = sigma[i] * (1 + gamma)
        output = network(x / np.sqrt(sigma[i] ** 2 + 0.25), float(grid.timesteps[i]))
        x = x + np.sqrt(max(hat**2 - sigma[i] ** 2, 0.0)) * churn.noise * noises[i]
        denoised = 0.25 / (hat**2 + 0.25) * x + hat * 0.5 / np.sqrt(hat**2 + 0.25) * output
        x = x + (sigma[i + 1] - hat) * (x - denoised) / hat
    torch.testing.assert_close(got, x, rtol=1e-11, atol=1e-11)


def test_flow() -> None:
    grid = flow_grid(5)
    x, noises = start(9)
    ours = [
        run(table(grid), x, noises[:rows])
        for table, rows in ((flow_euler, 5), (flow_heun, 9), (flow_stochastic, 5))
    ]
    euler = heun = consistent = x
    for i in range(5):
        step, t = grid.sigma[i + 1] - grid.sigma[i], float(grid.timesteps[i])
        euler = euler + step * network(euler, t)
        slope = network(heun, t)
        if i < 4:
            slope = (slope + network(heun + step * slope, float(grid.timesteps[i + 1]))) / 2
        heun = heun + step * slope
        x0 = consistent - grid.sigma[i] * network(consistent, t)
        consistent = (1 - grid.sigma[i + 1]) * x0 + grid.sigma[i + 1] * noises[i]
    for got, expected in zip(ours, (euler, heun, consistent), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


TABLES: dict[str, Callable[..., Table]] = {
    "deis": lambda grid, **o: deis(grid, order=3, **o),
    "ipndm": lambda grid, **o: ipndm(grid, "epsilon", **o),
    "sa_solver": lambda grid, **o: sa_solver(grid, predictor_order=3, corrector_order=3, **o),
    "lcm": lcm,
    "flow_euler": flow_euler,
    "flow_stochastic": flow_stochastic,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_begun_table_is_the_rest_of_the_grid(name: str) -> None:
    """Rows before `begin` are empty; from there a multistep method starts with what it has."""
    grid = flow_grid(8) if name.startswith("flow") else vp_grid(8)
    rest = Grid(timesteps=grid.timesteps[3:], alpha=grid.alpha[3:], sigma=grid.sigma[3:])
    begun, alone = TABLES[name](grid, begin=3), TABLES[name](rest)
    assert not begun.rows[:3, COLUMN["y_x"] : COLUMN["store"]].any()
    x, noises = start(len(rest))
    skipped = run(Table(begun.rows[3:], begun.timesteps[3:], begun.input_scale[3:]), x, noises)
    torch.testing.assert_close(skipped, run(alone, x, noises), rtol=1e-13, atol=1e-13)
    with pytest.raises(ValueError, match="begin is 8"):
        TABLES[name](grid, begin=8)


@pytest.mark.parametrize(
    "table", [lambda g, p: deis(g, p, order=3), lambda g, p: sa_solver(g, p, tau=lambda t: 1.0)]
)
def test_ends_without_signal_and_without_noise(table: Any) -> None:
    """Zero terminal SNR at the start and no noise at the end are limits that the rows take."""
    schedule = noise_schedule(rescale_betas_zero_snr=True)
    grid = timestep_grid(schedule, spaced_timesteps("trailing", 6, 1000))
    assert grid.alpha[0] == 0
    assert grid.sigma[-1] == 0
    x, noises = start(6)
    assert bool(torch.isfinite(run(table(grid, "v_prediction"), x, noises)).all())
    with pytest.raises(ValueError, match="zero terminal SNR"):
        table(grid, "epsilon")


def test_clip_reaches_what_is_stored() -> None:
    """With a clipped x0 the stored epsilon is what it leaves of the sample."""
    grid = vp_grid(4)
    table = deis(grid, order=2, clip=Clip(-0.3, 0.3))
    x = torch.full((1, 1), 2.0, dtype=torch.float64)
    _, stored = sampler_step(x, network(x, 0.0), table.rows, 0)
    torch.testing.assert_close(stored, (x - grid.alpha[0] * 0.3) / grid.sigma[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deis(vp_grid(4), order=5), "order is 5"),
        (lambda: ipndm(vp_grid(4), order=0), "order is 0"),
        (lambda: sa_solver(vp_grid(4), predictor_order=0), "predictor_order is 0"),
        (lambda: sa_solver(vp_grid(4), parametrization="data"), "parametrization is 'data'"),  # type: ignore[arg-type]
        (lambda: tcd(vp_grid(4), schedule=None), "schedule is None"),
        (lambda: tcd(vp_grid(4), schedule=SCHEDULE, eta=-0.1), "eta is -0.1"),
        (lambda: flow_heun(flow_grid(4), begin=1), "begin is 1"),
        (lambda: flow_heun(flow_grid(4), clip=Clip(-1, 1), churn=Churn(1.0)), "clip and churn"),
    ],
)
def test_errors(call: Callable[[], Table], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

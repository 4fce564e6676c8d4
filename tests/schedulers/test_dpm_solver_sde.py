"""DPM-Solver++ SDE beside diffusers' class, whose Brownian tree is replaced by a known path."""

from __future__ import annotations

import importlib
import math
import sys
import types
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse import schedulers
from genfuse.samplers.dpm_solver_sde import dpmpp_sde, midpoint_grid
from genfuse.samplers.schedule import noise_schedule
from genfuse.samplers.spacing import sigma_grid
from genfuse_kernels.sampler_step.reference import sampler_step
from genfuse_kernels.sampler_step.row import COLUMN
from schedulers.against_diffusers import SHAPE, float64_inside, pseudo_model
from schedulers.peer import Case, sampled

pytest.importorskip("diffusers")

TOLERANCE = 1e-6
SPACINGS = ("linspace", "leading", "trailing")
KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
)


def path(t: float) -> Tensor:
    """The Brownian motion that everybody draws from: any function will do, its increments are what counts."""
    phase = torch.arange(math.prod(SHAPE), dtype=torch.float64).reshape(SHAPE)
    return 3.0 * torch.sin(phase + 0.7 * t) + phase.cos() * t**0.5


class Interval:
    """torchsde's interface over `path`."""

    def __init__(self, t0: Any, t1: Any, **kwargs: Any) -> None:
        self.ends = float(t0), float(t1)

    def __call__(self, t0: Any, t1: Any) -> Tensor:
        assert self.ends[0] <= float(t0) * (1 + 1e-6) and float(t1) <= self.ends[1] * (1 + 1e-6)
        return path(float(t1)) - path(float(t0))


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """diffusers' class; torchsde need not be installed."""
    fake: Any = types.ModuleType("torchsde")
    fake.BrownianInterval = Interval
    monkeypatch.setitem(sys.modules, "torchsde", fake)
    name = "diffusers.schedulers.scheduling_dpmsolver_sde"
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    yield module.DPMSolverSDEScheduler
    sys.modules.pop(name, None)


def run(scheduler: Any, *, begin: int = 0, **step: Any) -> list[Tensor]:
    scheduler.set_begin_index(begin)
    x = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    x, samples = x * float(scheduler.init_noise_sigma), []
    for t in scheduler.timesteps[begin:]:
        output = pseudo_model(scheduler.scale_model_input(x, t), float(t))
        x = scheduler.step(output, t, x, **step).prev_sample
        samples.append(x)
    return samples


def rows_over_path(scheduler: Any) -> list[Tensor]:
    """Our table by the reference, with the noise that the path has in each half step."""
    table, nodes = scheduler._table(0), midpoint_grid(scheduler._grid, scheduler._schedule).sigma
    x = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    x, samples, stored, noise = x * float(scheduler.init_noise_sigma), [], x, None
    for i, t in enumerate(scheduler.timesteps):
        output = pseudo_model(x / math.hypot(1, nodes[i]), float(t))
        before = noise
        noise = (path(nodes[i + 1]) - path(nodes[i])) / math.sqrt(nodes[i] - nodes[i + 1])
        x, out = sampler_step(x, output, table.rows, i, history=[stored], noise=noise, noise_prev=before)
        stored = out if int(table.rows[i, COLUMN["store"]]) == 0 else stored
        samples.append(x)
    return samples


def assert_close(got: list[Tensor], expected: list[Tensor]) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert float((a - b).abs().max() / b.abs().max()) <= TOLERANCE


def pair(peer: Any, config: dict[str, Any], steps: int) -> tuple[Any, Any]:
    ours, theirs = schedulers.DPMSolverSDEScheduler(**config), peer(**config)
    ours.set_timesteps(steps)
    theirs.set_timesteps(steps)
    assert ours.timesteps.dtype == theirs.timesteps.dtype
    torch.testing.assert_close(ours.timesteps, theirs.timesteps, rtol=0, atol=2e-4)
    torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=3e-7, atol=0)
    assert float(ours.init_noise_sigma) == pytest.approx(float(theirs.init_noise_sigma), rel=1e-6)
    theirs.timesteps = ours.timesteps  # the model's times, to the last bit
    return ours, theirs


def cases() -> Iterator[Case]:
    for kind, spacing, prediction, steps in product(
        KINDS, SPACINGS, ("epsilon", "v_prediction"), (5, 20, 50)
    ):
        config = {**kind, "timestep_spacing": spacing, "prediction_type": prediction}
        yield Case("DPMSolverSDEScheduler", config, steps)


@pytest.mark.parametrize("case", sampled(cases(), 12), ids=str)
def test_trajectories(peer: Any, case: Case) -> None:
    """With the path's noise, and without any."""
    ours, theirs = pair(peer, case.config, case.steps)
    with float64_inside(theirs):
        assert_close(rows_over_path(ours), run(theirs))
    times = theirs.timesteps
    theirs.set_timesteps(case.steps)
    theirs.timesteps = times
    with float64_inside(theirs):
        without = run(theirs, s_noise=0.0)
    assert_close(run(ours, s_noise=0.0), without)


def test_begins_in_the_middle(peer: Any) -> None:
    ours, theirs = pair(peer, {}, 10)
    with float64_inside(theirs):
        expected = run(theirs, begin=6, s_noise=0.0)
    assert_close(run(ours, begin=6, s_noise=0.0), expected)
    with pytest.raises(ValueError, match="expected an even row"):
        run(schedulers_at(5), begin=5)


def schedulers_at(steps: int) -> Any:
    scheduler = schedulers.DPMSolverSDEScheduler()
    scheduler.set_timesteps(steps)
    return scheduler


def test_configuration_is_diffusers(peer: Any) -> None:
    ours, theirs = schedulers.DPMSolverSDEScheduler(), peer()
    for name in theirs.config:
        assert name[0] == "_" or ours.config[name] == theirs.config[name]
    assert (ours.order, len(ours)) == (theirs.order, len(theirs))
    x, noise = torch.ones(SHAPE), torch.full(SHAPE, 0.5)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(7)
    times = ours.timesteps[[0, 6]]
    theirs.timesteps = ours.timesteps
    torch.testing.assert_close(ours.add_noise(x, noise, times), theirs.add_noise(x, noise, times))


def test_noise_of_a_step_is_that_of_its_halves() -> None:
    """Either row's variance is sigma_up², and their covariance that of a Brownian path in sigma."""
    sigmas = np.array([9.0, 4.0, 1.0, 0.0])
    grid = sigma_grid(sigmas, timesteps=np.array([900.0, 500.0, 100.0]), coordinates="ve")
    rows = dpmpp_sde(grid, schedule=noise_schedule(), s_noise=1.3).rows
    for step in range(2):
        first, second = rows[2 * step], rows[2 * step + 1]
        start, end = sigmas[step], sigmas[step + 1]
        middle = math.sqrt(start * end)

        def up(to: float, start: float = start) -> float:
            return 1.3 * to * math.sqrt(1 - (to / start) ** 2)

        noise, earlier = float(second[COLUMN["y_noise"]]), float(second[COLUMN["y_noise_prev"]])
        assert float(first[COLUMN["y_noise"]]) == pytest.approx(up(middle), rel=1e-12)
        assert noise**2 + earlier**2 == pytest.approx(up(end) ** 2, rel=1e-12)
        correlation = math.sqrt((start - middle) / (start - end))
        assert earlier == pytest.approx(up(end) * correlation, rel=1e-12)


def test_coordinates_do_not_matter() -> None:
    """The same step in variance-preserving coordinates, where the network is given the sample as it is."""
    sigmas, times = np.array([9.0, 4.0, 1.0, 0.0]), np.array([900.0, 500.0, 100.0])
    exploding = sigma_grid(sigmas, timesteps=times, coordinates="ve")
    preserving = sigma_grid(sigmas, timesteps=times, coordinates="vp")
    nodes = midpoint_grid(preserving, noise_schedule())
    np.testing.assert_allclose(np.hypot(nodes.alpha, nodes.sigma), 1.0, rtol=1e-14)
    ve = dpmpp_sde(exploding, "sample", schedule=noise_schedule()).rows
    vp = dpmpp_sde(preserving, "sample", schedule=noise_schedule()).rows
    for name in ("y_x0", "y_noise", "y_noise_prev"):
        expected = ve[:, COLUMN[name]] * torch.from_numpy(nodes.alpha[1:])
        torch.testing.assert_close(vp[:, COLUMN[name]], expected, rtol=1e-12, atol=1e-14)


def test_seeds_decide_the_noise() -> None:
    """noise_sampler_seed: one, or one a sample; else PyTorch's default generator."""

    def end(seed: Any) -> Tensor:
        scheduler = schedulers.DPMSolverSDEScheduler(noise_sampler_seed=seed)
        scheduler.set_timesteps(4)
        return run(scheduler)[-1]

    assert torch.equal(end(3), end(3))
    assert not torch.equal(end(3), end(4))
    assert torch.equal(end([5, 6])[1], end([9, 6])[1])
    torch.manual_seed(0)
    first = end(None)
    torch.manual_seed(0)
    assert torch.equal(first, end(None))
    with pytest.raises(ValueError, match="noise_sampler_seed has 3 seeds, expected 2"):
        end([1, 2, 3])

"""Every solver by its name: it runs, its samples follow the exact solution, and its options are checked."""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.samplers import Sampler, names, sample
from genfuse.samplers.churn import Churn
from genfuse.samplers.registry import GIVEN, SOLVERS
from genfuse.samplers.sa_solver import noise_in_the_middle

MEAN, STD = 0.3, 0.6


def schedule_of(name: str) -> str | None:
    return "flow" if name.startswith("flow") else None


def exact_network(sampler: Sampler) -> genfuse.samplers.loop.Model:
    """The perfect network for samples from a normal distribution of MEAN and STD, whatever it predicts."""

    def network(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (float(level[0]) for level in sampler.levels.at(t[:1].double().numpy()))
        noise = sigma * (x - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)
        if sampler.levels.schedule is not None:
            return noise
        return noise - (MEAN + alpha * STD**2 * (x - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2))

    return network


@pytest.mark.parametrize("name", names())
def test_runs_and_depends_on_the_seed_alone(name: str) -> None:
    def run(seeds: list[int]) -> Tensor:
        made = sample(
            lambda x, t: x / 3, (len(seeds), 3, 4, 5), sampler=name, steps=6, seeds=seeds, **options
        )
        assert isinstance(made, Tensor)
        return made

    options = {"schedule": schedule_of(name)}
    made = run([5, 9])
    assert made.shape == (2, 3, 4, 5) and made.isfinite().all()
    assert torch.equal(run([5, 9]), made)
    assert torch.equal(run([9]), made[1:])
    assert not torch.equal(run([6])[0], made[0])


@pytest.mark.parametrize("name", names())
def test_reaches_the_distribution_and_the_exact_flow(name: str) -> None:
    """Deterministic solvers end where the probability flow does; stochastic ones in the distribution."""
    sampler = Sampler(name, 50, schedule=schedule_of(name), seeds=0)
    start = sampler.start((2000, 4), dtype=torch.float64)
    made = sample(exact_network(sampler), (2000, 4), sampler=sampler, dtype=torch.float64)
    assert isinstance(made, Tensor)
    if sampler.table.stochastic:
        # lcm's noise is not the reverse process's: a perfect network's x0 loses spread at every jump
        if name != "lcm":
            assert abs(made.mean().item() - MEAN) < 0.03 and abs(made.std().item() - STD) < 0.08
        return
    alpha, sigma = sampler.grid.alpha[0], sampler.grid.sigma[0]
    flow = MEAN + STD * (start - alpha * MEAN) / np.hypot(alpha * STD, sigma)
    first_order = name in ("ddim", "euler", "flow_euler", "tcd")
    assert (made - flow).square().mean().sqrt() < (0.035 if first_order else 0.015)


def test_names_are_sorted_and_lead_to_solvers() -> None:
    assert names() == tuple(sorted(names())) == tuple(sorted(SOLVERS))
    assert {"ddpm", "ddim", "pndm", "euler", "heun", "dpmpp_2m", "unipc", "lcm", "tcd", "flow_euler"} <= set(
        names()
    )


@pytest.mark.parametrize(
    ("name", "nearest"), [("dpmp_2m", "dpmpp_2m"), ("eulr", "euler"), ("uni_pc", "unipc"), ("DDIM", "ddim")]
)
def test_unknown_name(name: str, nearest: str) -> None:
    hint = rf"; did you mean '{nearest}'\?"
    with pytest.raises(ValueError, match=rf"sampler is '{name}', expected one of 'ddim', .*{hint}"):
        Sampler(name)


def test_options_of_a_solver() -> None:
    assert Sampler("ddim", 5, eta=1.0).table.stochastic and not Sampler("ddim", 5).table.stochastic
    with pytest.raises(TypeError, match=r"option is 'etta', expected one of .*; did you mean 'eta'\?"):
        Sampler("ddim", 5, etta=1.0)
    with pytest.raises(ValueError, match=r"eta is 2.0, expected 0"):
        Sampler("ddim", 5, eta=2.0)
    with pytest.raises(TypeError, match=r"option is 'begin'"):
        Sampler("ddim", 5, begin=1)


BAD: dict[type, tuple[object, ...]] = {
    bool: ("x", None, float("nan"), [1], 1),
    int: (2.5, "x", None, float("nan"), [1], True),
    float: ("x", None, float("nan"), [1], True, -3.0),
    str: (2.5, None, [1], "x"),
    Churn: (2.5, None),
    tuple: (None, 3, "x"),
    type(noise_in_the_middle): (3, None),
}


@pytest.mark.parametrize("name", names())
def test_a_bad_option_is_named(name: str) -> None:
    """Whatever stands where a bool, an int, a number, a name or a function is expected."""
    solver = SOLVERS[name]
    build = getattr(importlib.import_module(f"genfuse.samplers.{solver.module}"), solver.function)
    for option, parameter in inspect.signature(build).parameters.items():
        if option in GIVEN:
            continue
        for bad in BAD[type(parameter.default)]:
            with pytest.raises((TypeError, ValueError), match=rf"^{option} is "):
                Sampler(name, 5, schedule=schedule_of(name), **{option: bad})


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("euler_ancestral", "eta", 99.0),
        ("euler", "s_noise", float("inf")),
        ("ddim", "eta", 1.5),
        ("lcm", "sigma_data", 0.0),
        ("lcm", "timestep_scaling", 0.0),
        ("dpmpp_2m", "order", 4),
    ],
)
def test_an_option_out_of_range(name: str, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{option} is {value}, expected"):
        Sampler(name, 5, **{option: value})
    assert Sampler("euler", 5, s_churn=1.0, s_tmax=float("inf")).table.stochastic

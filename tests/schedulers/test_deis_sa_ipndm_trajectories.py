"""DEIS, SA-Solver and iPNDM against diffusers' own classes."""

from __future__ import annotations

from itertools import product
from typing import Any

import diffusers
import pytest
import torch

from genfuse import schedulers
from schedulers.against_diffusers import SHAPE, difference, pseudo_model
from schedulers.peer import sampled

# diffusers takes its coefficients from float32 sigmas in float32, where neighbouring terms cancel; what it
# is held to here is the same arithmetic in float64 (see `stock` below for how far it is from that).
EXACT = 1e-6
PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow_prediction")
STEPS = (5, 20, 50)
NODES: tuple[dict[str, Any], ...] = (
    {"timestep_spacing": "linspace"},
    {"timestep_spacing": "leading", "steps_offset": 1},
    {"timestep_spacing": "trailing"},
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
    {"use_flow_sigmas": True, "flow_shift": 3.0},
)
Config = dict[str, Any]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")


def deis_cases() -> list[Config]:
    return [
        {
            "steps": steps,
            "prediction_type": prediction,
            "solver_order": order,
            "thresholding": threshold,
            **nodes,
        }
        for prediction, nodes, order, threshold, steps in product(
            PREDICTIONS, NODES, (1, 2, 3), (False, True), STEPS
        )
        if prediction != "flow_prediction" or "use_flow_sigmas" in nodes
    ]


def sa_cases() -> list[Config]:
    orders = (1, 2, 3, 4)
    return [
        {
            "steps": steps,
            "prediction_type": prediction,
            "predictor_order": predictor,
            "corrector_order": corrector,
            "algorithm_type": algorithm,
            "lower_order_final": lower,
            **nodes,
        }
        for prediction, nodes, predictor, corrector, algorithm, lower, steps in product(
            PREDICTIONS, NODES, orders, orders, ("data_prediction", "noise_prediction"), (True, False), STEPS
        )
        if (prediction, algorithm) != ("flow_prediction", "noise_prediction")
    ]


@pytest.mark.parametrize("case", sampled(deis_cases(), 24), ids=str)
def test_deis(case: Config) -> None:
    steps, config = case["steps"], {name: value for name, value in case.items() if name != "steps"}
    begin = steps // 3 if config["solver_order"] == 3 else 0
    ours, peer = schedulers.DEISMultistepScheduler(**config), diffusers.DEISMultistepScheduler(**config)
    assert difference(ours, peer, steps, begin=begin) < EXACT


@pytest.mark.parametrize("case", sampled(sa_cases(), 32), ids=str)
def test_sa_solver(case: Config) -> None:
    steps, config = case["steps"], {name: value for name, value in case.items() if name != "steps"}
    begin = steps // 3 if config["corrector_order"] == 3 else 0
    ours, peer = schedulers.SASolverScheduler(**config), diffusers.SASolverScheduler(**config)
    assert difference(ours, peer, steps, begin=begin, seed=5) < EXACT


@pytest.mark.parametrize("tau", [0.0, 0.4, 1.0, 1.5])
@pytest.mark.parametrize("algorithm", ["data_prediction", "noise_prediction"])
def test_sa_solver_any_amount_of_noise(tau: float, algorithm: str) -> None:
    config = {
        "tau_func": lambda t: tau,
        "algorithm_type": algorithm,
        "predictor_order": 3,
        "corrector_order": 4,
    }
    ours, peer = schedulers.SASolverScheduler(**config), diffusers.SASolverScheduler(**config)
    assert difference(ours, peer, 10, seed=5) < EXACT


@pytest.mark.parametrize("lambda_min_clipped", [-5.1, -3.0])
def test_sa_solver_leaves_out_the_noisiest_levels(lambda_min_clipped: float) -> None:
    config = {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": lambda_min_clipped}
    ours, peer = schedulers.SASolverScheduler(**config), diffusers.SASolverScheduler(**config)
    assert difference(ours, peer, 12, seed=5) < EXACT


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("begin", [0, 2])
def test_ipndm(steps: int, begin: int) -> None:
    assert difference(schedulers.IPNDMScheduler(), diffusers.IPNDMScheduler(), steps, begin=begin) < EXACT


@pytest.mark.parametrize("steps", [2, 6, 20])
def test_ipndm_given_levels(steps: int) -> None:
    """They are the nodes, however many steps are asked for."""
    config = {"trained_betas": [0.99, 0.8, 0.6, 0.4, 0.3, 0.1, 0.0]}
    ours, peer = schedulers.IPNDMScheduler(**config), diffusers.IPNDMScheduler(**config)
    assert difference(ours, peer, steps) < EXACT
    assert len(ours.timesteps) == len(peer.timesteps) == 6
    with pytest.raises(ValueError, match="trained_betas has 1 elements, expected at least 2"):
        schedulers.IPNDMScheduler(trained_betas=[0.5])


def test_deis_dynamic_shift() -> None:
    config = {"use_flow_sigmas": True, "use_dynamic_shifting": True, "prediction_type": "flow_prediction"}
    ours, peer = schedulers.DEISMultistepScheduler(**config), diffusers.DEISMultistepScheduler(**config)
    assert difference(ours, peer, 12, mu=0.9) < EXACT
    with pytest.raises(ValueError, match=r"mu is 1\.0"):
        schedulers.DEISMultistepScheduler().set_timesteps(5, mu=1.0)


@pytest.mark.parametrize(("order", "bound"), [(1, 1e-5), (2, 1e-4)])
def test_deis_stock(order: int, bound: float) -> None:
    """diffusers as it stands, coefficients in float32: their cancellation grows with order and steps."""
    config = {"solver_order": order}
    ours, peer = schedulers.DEISMultistepScheduler(**config), diffusers.DEISMultistepScheduler(**config)
    assert difference(ours, peer, 10, exact=False) < bound


def test_deis_noises_to_its_nodes() -> None:
    x, noise = torch.randn(2, *SHAPE, dtype=torch.float64)
    ours, peer = schedulers.DEISMultistepScheduler(), diffusers.DEISMultistepScheduler()
    for scheduler in (ours, peer):
        scheduler.set_timesteps(10)
    times = ours.timesteps[[3, 7]]
    torch.testing.assert_close(
        ours.add_noise(x, noise, times), peer.add_noise(x, noise, times), rtol=1e-6, atol=1e-7
    )


def test_sa_solver_noises_to_training_times() -> None:
    x, noise = torch.randn(2, *SHAPE, dtype=torch.float64)
    times = torch.tensor([17, 903])
    got = schedulers.SASolverScheduler().add_noise(x, noise, times)
    torch.testing.assert_close(
        got, diffusers.SASolverScheduler().add_noise(x, noise, times), rtol=1e-6, atol=1e-7
    )


def test_counter_noise_without_a_generator() -> None:
    """Seeds come from torch's default generator, so manual_seed decides a trajectory."""
    runs = []
    for _ in range(2):
        torch.manual_seed(11)
        scheduler = schedulers.SASolverScheduler()
        scheduler.set_timesteps(6)
        x = torch.ones(SHAPE)
        for t in scheduler.timesteps:
            x = scheduler.step(pseudo_model(x, float(t)), t, x)[0]
        runs.append(x)
    assert torch.equal(*runs)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("DEISMultistepScheduler", {"solver_order": 4}, "solver_order is 4"),
        ("DEISMultistepScheduler", {"prediction_type": "eps"}, "did you mean 'epsilon'"),
        ("DEISMultistepScheduler", {"prediction_type": "flow_prediction"}, "use_flow_sigmas is False"),
        ("DEISMultistepScheduler", {"use_karras_sigmas": True, "use_beta_sigmas": True}, "both True"),
        ("SASolverScheduler", {"algorithm_type": "noise_predict"}, "did you mean 'noise_prediction'"),
    ],
)
def test_configuration_errors(name: str, config: Config, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(schedulers, name)(**config)

"""LCM, TCD, EDM Euler and flow matching against diffusers' own classes."""

from __future__ import annotations

from itertools import product
from typing import Any

import diffusers
import pytest
import torch

from genfuse import schedulers
from schedulers.against_diffusers import SHAPE, difference, pseudo_model
from schedulers.peer import sampled

EXACT = 1e-6
FLOAT32_INSIDE = 1e-5  # diffusers casts the sample to float32 in step: EDM Euler and flow matching
PREDICTIONS = ("epsilon", "v_prediction", "sample")
BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
Config = dict[str, Any]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")


def pair(name: str, config: Config) -> tuple[Any, Any]:
    return getattr(schedulers, name)(**config), getattr(diffusers, name)(**config)


DISTILLED = [
    (name, steps, begin, {"prediction_type": prediction, "beta_schedule": beta, **extra}, step)
    for name, options in (
        (
            "LCMScheduler",
            [
                ({}, {}),
                ({"clip_sample": True}, {}),
                ({"thresholding": True}, {}),
                ({"timestep_scaling": 2.0}, {}),
            ],
        ),
        ("TCDScheduler", [({}, {"eta": eta}) for eta in (0.0, 0.3, 0.7, 1.0)]),
    )
    for (extra, step), steps, begin, prediction, beta in product(
        options, (5, 20, 50), (0, 3), PREDICTIONS, BETAS
    )
]


@pytest.mark.parametrize("case", sampled(DISTILLED, 24), ids=str)
def test_distilled(case: Any) -> None:
    name, steps, begin, config, step = case
    assert difference(*pair(name, config), steps, begin=begin, seed=5, step=step) < EXACT


@pytest.mark.parametrize("name", ["LCMScheduler", "TCDScheduler"])
@pytest.mark.parametrize(
    "nodes",
    [
        {"num_inference_steps": 4, "strength": 0.6},
        {"num_inference_steps": 4, "original_inference_steps": 100},
        {"timesteps": [999, 700, 301, 17]},
    ],
    ids=str,
)
def test_distilled_nodes(name: str, nodes: Config) -> None:
    assert difference(*pair(name, {}), seed=5, **nodes) < EXACT


@pytest.mark.parametrize("name", ["LCMScheduler", "TCDScheduler"])
def test_zero_terminal_snr(name: str) -> None:
    config = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    assert difference(*pair(name, config), 5, seed=5) < EXACT


@pytest.mark.parametrize(
    ("name", "second"), [("LCMScheduler", "denoised"), ("TCDScheduler", "pred_noised_sample")]
)
def test_second_output(name: str, second: str) -> None:
    x = torch.randn(SHAPE, dtype=torch.float64)
    outputs = []
    for scheduler in pair(name, {}):
        scheduler.set_timesteps(4)
        t = scheduler.timesteps[0]
        outputs.append(
            scheduler.step(pseudo_model(x, float(t)), t, x, generator=torch.Generator().manual_seed(1))
        )
    ours, theirs = outputs
    torch.testing.assert_close(getattr(ours, second), getattr(theirs, second), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-5, atol=1e-6)


EDM = [
    (steps, begin, {"prediction_type": prediction, "sigma_schedule": kind, "final_sigmas_type": last}, step)
    for steps, begin, prediction, kind, last, step in product(
        (5, 20, 50),
        (0, 3),
        ("epsilon", "v_prediction"),
        ("karras", "exponential"),
        ("zero", "sigma_min"),
        ({}, {"s_churn": 5.0, "s_noise": 1.01}, {"s_churn": 40.0, "s_tmin": 0.05, "s_tmax": 50.0}),
    )
]


@pytest.mark.parametrize("case", sampled(EDM, 12), ids=str)
@pytest.mark.parametrize(("exact", "bound"), [(True, EXACT), (False, FLOAT32_INSIDE)])
def test_edm_euler(case: Any, exact: bool, bound: float) -> None:
    steps, begin, config, step = case
    ours, peer = pair("EDMEulerScheduler", config)
    assert difference(ours, peer, steps, begin=begin, seed=5, step=step, exact=exact) < bound


def test_edm_euler_given_the_denoised_sample() -> None:
    outputs = []
    for scheduler in pair("EDMEulerScheduler", {}):
        scheduler.set_timesteps(6)
        x = 80 * torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        scheduler.scale_model_input(x, scheduler.timesteps[0])
        outputs.append(scheduler.step(x, scheduler.timesteps[0], x, pred_original_sample=x / 6400)[0])
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "config", [{}, {"clip_denoised": False, "s_noise": 0.9}, {"num_train_timesteps": 18}], ids=str
)
@pytest.mark.parametrize(
    "nodes", [{"num_inference_steps": 1}, {"num_inference_steps": 5}, {"timesteps": [17, 9, 0]}], ids=str
)
@pytest.mark.parametrize("exact", [True, False])
def test_consistency_models(config: Config, nodes: Config, exact: bool) -> None:
    ours, peer = pair("CMStochasticIterativeScheduler", config)
    assert difference(ours, peer, seed=5, exact=exact, **nodes) < EXACT


FLOW_NODES: tuple[Config, ...] = (
    {},
    {"shift": 3.0},
    {"shift": 3.0, "shift_terminal": 0.1},
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True, "shift": 2.0},
    {"invert_sigmas": True},
    {"use_dynamic_shifting": True},
    {"use_dynamic_shifting": True, "time_shift_type": "linear"},
)
FLOW = [
    (name, steps, begin, {**nodes, **extra})
    for (name, extra), nodes, steps, begin in product(
        (
            ("FlowMatchEulerDiscreteScheduler", {}),
            ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
            ("FlowMatchLCMScheduler", {}),
        ),
        FLOW_NODES,
        (5, 20, 50),
        (0, 3),
    )
]


@pytest.mark.parametrize("case", sampled(FLOW, 24), ids=str)
@pytest.mark.parametrize("exact", [True, False])
def test_flow(case: Any, exact: bool) -> None:
    name, steps, begin, config = case
    mu = {"mu": 1.1} if config.get("use_dynamic_shifting") else {}
    bound = EXACT if exact else FLOAT32_INSIDE
    drawn = torch.float32 if "Euler" in name else None
    error = difference(*pair(name, config), steps, begin=begin, seed=5, exact=exact, drawn=drawn, **mu)
    assert error < bound


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_flow_noise_is_drawn_as_the_peers(name: str, dtype: torch.dtype) -> None:
    """One step of a zero velocity from zero: the noise alone, to the sample's precision."""
    config = {"stochastic_sampling": True} if "Euler" in name else {}
    x, drawn = torch.zeros(SHAPE, dtype=dtype), []
    for scheduler in pair(name, config):
        scheduler.set_timesteps(4)
        generator = torch.Generator().manual_seed(3)
        drawn.append(scheduler.step(x, scheduler.timesteps[0], x, generator=generator)[0])
    assert drawn[0].dtype == drawn[1].dtype == dtype
    torch.testing.assert_close(*drawn)


HEUN = list(
    product(
        (5, 20, 50),
        (0, 4),
        (1.0, 3.0),
        ({}, {"s_churn": 5.0}, {"s_churn": 40.0, "s_tmax": 0.8, "s_noise": 1.01}),
    )
)


@pytest.mark.parametrize("case", sampled(HEUN, 10), ids=str)
@pytest.mark.parametrize(("exact", "bound"), [(True, EXACT), (False, FLOAT32_INSIDE)])
def test_flow_heun(case: Any, exact: bool, bound: float) -> None:
    steps, begin, shift, step = case
    ours, peer = pair("FlowMatchHeunDiscreteScheduler", {"shift": shift})
    assert difference(ours, peer, steps, begin=begin, seed=5, step=step, exact=exact) < bound


@pytest.mark.parametrize(
    "nodes", [{"sigmas": [1.0, 0.7, 0.3]}, {"timesteps": [900.0, 500.0, 100.0]}], ids=str
)
def test_flow_given_nodes(nodes: Config) -> None:
    assert difference(*pair("FlowMatchEulerDiscreteScheduler", {"shift": 2.0}), **nodes) < EXACT


def test_flow_scale_noise() -> None:
    x, noise = torch.randn(2, *SHAPE, dtype=torch.float64)
    ours, peer = pair("FlowMatchEulerDiscreteScheduler", {"shift": 3.0})
    for scheduler in (ours, peer):
        scheduler.set_timesteps(8)
    times = ours.timesteps[[2, 5]]
    torch.testing.assert_close(
        ours.scale_noise(x, times, noise), peer.scale_noise(x, times, noise), rtol=1e-6, atol=1e-7
    )


def test_flow_set_shift() -> None:
    ours, peer = pair("FlowMatchEulerDiscreteScheduler", {})
    ours.set_shift(4.0)
    peer.set_shift(4.0)
    assert difference(ours, peer, 7) < EXACT


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedulers.LCMScheduler().set_timesteps(60), "num_inference_steps is 60"),
        (lambda: schedulers.LCMScheduler().set_timesteps(), "exactly one"),
        (lambda: schedulers.LCMScheduler().set_timesteps(timesteps=[1, 2]), "descending"),
        (lambda: schedulers.LCMScheduler().set_timesteps(4, strength=1.5), "strength is 1.5"),
        (lambda: schedulers.EDMEulerScheduler(sigma_schedule="karas"), "did you mean 'karras'"),
        (lambda: schedulers.EDMEulerScheduler().set_timesteps(), "num_inference_steps"),
        (
            lambda: schedulers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True).set_timesteps(4),
            "mu is None",
        ),
        (lambda: schedulers.FlowMatchEulerDiscreteScheduler().set_timesteps(4, sigmas=[1.0]), "one number"),
        (lambda: schedulers.FlowMatchLCMScheduler(scale_factors=[2.0]), "scale_factors"),
        (lambda: schedulers.FlowMatchHeunDiscreteScheduler().set_timesteps(0), "num_inference_steps is 0"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_whole_numbers_are_not_flow_timesteps() -> None:
    scheduler = schedulers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(4)
    x = torch.zeros(SHAPE)
    with pytest.raises(ValueError, match="timestep is 0"):
        scheduler.step(x, 0, x)
    with pytest.raises(ValueError, match="per_token_timesteps"):
        scheduler.step(x, scheduler.timesteps[0], x, per_token_timesteps=torch.zeros(2, 4))


def test_eta_outside_its_range() -> None:
    scheduler = schedulers.TCDScheduler()
    scheduler.set_timesteps(4)
    x = torch.zeros(SHAPE)
    with pytest.raises(ValueError, match=r"eta is 1\.2"):
        scheduler.step(x, scheduler.timesteps[0], x, eta=1.2)

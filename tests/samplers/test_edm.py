"""EDM by `sample` and `Sampler`: Karras et al. 2022, and genfuse's own diffusers classes, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse import schedulers
from genfuse.samplers import EDM, Sampler, noise_schedule, sample

SHAPE = (2, 3, 4, 4)
MEAN, STD = 0.3, 0.6


def network(x: Tensor, t: Tensor) -> Tensor:
    return torch.tanh(0.7 * x + t.reshape(-1, 1, 1, 1))


def exact_network(edm: EDM) -> Any:
    """F (ibid., eq. 7) whose D is the denoiser of data with MEAN and STD."""

    def model(x: Tensor, t: Tensor) -> Tensor:
        sigma, data = float((4 * t[0]).exp()), edm.sigma_data
        length = math.hypot(sigma, data)
        sample = x * length
        denoised = MEAN + STD**2 / (STD**2 + sigma**2) * (sample - MEAN)
        return (denoised - data**2 / length**2 * sample) / (sigma * data / length)

    return model


@pytest.mark.parametrize(
    ("name", "scheduler", "config"),
    [
        ("euler", "EDMEulerScheduler", {}),
        ("dpmpp_2m", "EDMDPMSolverMultistepScheduler", {}),
        ("dpmpp_2m_sde", "EDMDPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ],
)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sigmas", ["karras", "exponential"])
def test_follows_the_schedulers(
    name: str, scheduler: str, config: dict[str, Any], prediction: Any, sigmas: str
) -> None:
    """They round their levels to float32 as diffusers does, hence the bound."""
    edm = EDM(sigma_min=0.01, sigma_max=40.0, rho=5.0, sigma_data=0.7)
    sampler = Sampler(name, 8, schedule=edm, prediction=prediction, sigmas=sigmas, seeds=3)
    peer = getattr(schedulers, scheduler)(
        sigma_min=0.01, sigma_max=40.0, rho=5.0, sigma_data=0.7, prediction_type=prediction,
        sigma_schedule=sigmas, **config,
    )  # fmt: skip
    peer.set_timesteps(8)
    np.testing.assert_allclose(sampler.timesteps, peer.timesteps, rtol=1e-5, atol=1e-6)
    x = y = sampler.start(SHAPE, dtype=torch.float64)
    assert 30 < x.std() < 50
    for i, t in enumerate(peer.timesteps):
        torch.testing.assert_close(
            sampler.input_scale[i] * x, peer.scale_model_input(y, t), rtol=1e-4, atol=1e-4
        )
        noise = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
        output = network(sampler.input_scale[i] * x, sampler.timesteps[i].expand(2))
        x = sampler.step(output, i, x, noise=noise if sampler.table.stochastic else None)
        if scheduler == "EDMEulerScheduler" or not sampler.table.stochastic:
            y = peer.step(output, t, y).prev_sample
        else:
            y = peer._step(output, t, y, noise=noise).prev_sample
    torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["euler", "heun", "lms", "ddim", "dpmpp_2m", "dpmpp_3m", "dpmpp_2s", "unipc", "deis"]
)
def test_reaches_the_exact_flow(name: str) -> None:
    edm = EDM(sigma_min=0.02, sigma_max=20.0)
    sampler = Sampler(name, 60, schedule=edm, seeds=0)
    start = sampler.start((500, 4), dtype=torch.float64)
    made = sample(exact_network(edm), (500, 4), sampler=sampler, dtype=torch.float64)
    assert isinstance(made, Tensor)
    flow = MEAN + STD * (start - MEAN) / math.hypot(STD, 20.0)
    assert (made - flow).abs().max() < (0.08 if name in ("euler", "ddim") else 0.02)


def test_heun_is_the_paper_s_algorithm() -> None:
    """Ibid., algorithm 1."""
    sampler = Sampler("heun", 5, schedule="edm", seeds=1)
    sigma = sampler.grid.sigma

    def denoised(x: Tensor, s: float) -> Tensor:
        length = math.hypot(s, 0.5)
        output = network(x / length, torch.tensor([math.log(s) / 4], dtype=torch.float64))
        return 0.25 / length**2 * x + s * 0.5 / length * output

    x = sampler.start(SHAPE, dtype=torch.float64)
    for i in range(5):
        slope = (x - denoised(x, sigma[i])) / sigma[i]
        following = x + (sigma[i + 1] - sigma[i]) * slope
        if sigma[i + 1] > 0:
            there = (following - denoised(following, sigma[i + 1])) / sigma[i + 1]
            following = x + (sigma[i + 1] - sigma[i]) * (slope + there) / 2
        x = following
    sampler.reset()
    got = sample(network, SHAPE, sampler=sampler, dtype=torch.float64)
    torch.testing.assert_close(got, x, rtol=1e-10, atol=1e-10)


def test_from_a_picture_and_by_name() -> None:
    picture = torch.rand(SHAPE, dtype=torch.float64)
    made = sample(exact_network(EDM()), SHAPE, schedule="edm", init=picture, strength=0.2, seeds=0)
    assert isinstance(made, Tensor) and made.isfinite().all()
    sampler = Sampler("euler", 4, schedule="edm", seeds=0)
    noisy = sampler.add_noise(picture, 2)
    assert abs(((noisy - picture) / sampler.grid.sigma[2]).std() - 1) < 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": "linspace"}, "spacing is 'linspace', expected None"),
        ({"timesteps": [3.0, 1.0]}, r"timesteps is \[3.0, 1.0\], expected None"),
        ({"prediction": "sample"}, "prediction is 'sample', expected one of 'epsilon', 'v_prediction'"),
        ({"steps": 0}, "steps is 0, expected at least 1"),
        ({"name": "lcm"}, "schedule is EDM's, expected a noise schedule or 'flow': sampler 'lcm'"),
        ({"name": "flow_euler"}, "schedule is EDM's, expected 'flow': sampler 'flow_euler'"),
    ],
    ids=str,
)
def test_what_does_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampler(**{"name": "euler", "steps": 4, "schedule": "edm", **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma_min": 0.0}, "sigma_min is 0.0, expected more than 0"),
        ({"sigma_max": 0.001}, "sigma_max is 0.001, expected more than sigma_min = 0.002"),
        ({"rho": float("nan")}, "rho is nan, expected a finite number"),
        ({"sigma_data": -1.0}, "sigma_data is -1.0, expected more than 0"),
    ],
    ids=str,
)
def test_edm_s_numbers(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EDM(**options)


def test_flow_solvers_need_flow_levels() -> None:
    with pytest.raises(
        ValueError, match="schedule is a noise schedule, expected 'flow': sampler 'flow_heun'"
    ):
        Sampler("flow_heun", 4, schedule=noise_schedule())

"""Steps are differentiable where nothing is written in place."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from genfuse.errors import UnsupportedError
from genfuse.samplers import Sampler

SHAPE = (2, 1, 2, 3)
NAMES = ("ddim", "dpmpp_2m", "dpmpp_3m", "unipc", "ddpm", "dpmpp_2m_sde", "heun", "pndm", "sa_solver", "lcm")


def run(sampler: Sampler, x: Tensor, weight: Tensor) -> Tensor:
    sampler.reset()
    for i in range(len(sampler)):
        x = sampler.step(torch.tanh(weight * x + i / 10), i, x)
    return x


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck_of_a_whole_run(name: str) -> None:
    sampler = Sampler(name, 5, seeds=0)
    x = sampler.start(SHAPE, dtype=torch.float64).requires_grad_()
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x, weight: run(sampler, x, weight), (x, weight), fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_run_has_the_same_bits(name: str) -> None:
    sampler = Sampler(name, 5, seeds=0)
    x, weight = sampler.start(SHAPE), torch.tensor(0.7)
    recorded = run(sampler, x.clone().requires_grad_(), weight)
    assert recorded.requires_grad and torch.equal(recorded, run(sampler, x, weight))


@pytest.mark.parametrize("name", ["dpmpp_3m", "unipc", "pndm"])
def test_a_run_may_be_recorded_in_part(name: str) -> None:
    """What earlier steps stored goes along into autograd's hands and out of them."""
    sampler = Sampler(name, 8, seeds=0)
    weight = torch.tensor(0.7, dtype=torch.float64)
    start = sampler.start(SHAPE, dtype=torch.float64)
    expected = run(sampler, start, weight)
    sampler.reset()
    x = start
    for i in range(len(sampler)):
        with torch.set_grad_enabled(i in (2, 3, 6)):
            x = sampler.step(torch.tanh(weight * x + i / 10).requires_grad_(), i, x)
    assert torch.equal(x, expected)


def test_a_gradient_reaches_the_outputs_of_earlier_steps() -> None:
    sampler = Sampler("dpmpp_2m", 6, seeds=0)
    x = sampler.start(SHAPE, dtype=torch.float64)
    output = torch.ones_like(x, requires_grad=True)
    x = sampler.step(output, 0, x).detach()
    x = sampler.step(torch.ones_like(x), 1, x)  # asks for no gradient itself
    (gradient,) = torch.autograd.grad(x.sum(), output)
    assert gradient.abs().min() > 0


def test_a_recorded_run_can_be_copied() -> None:
    sampler = Sampler("dpmpp_2m", 6, seeds=0)
    x = sampler.start(SHAPE)
    x = sampler.step(torch.tanh(x).requires_grad_(), 0, x)
    other = copy.deepcopy(sampler)
    assert torch.equal(other.step(x.detach(), 1, x.detach()), sampler.step(x, 1, x))


def test_in_place_there_is_none() -> None:
    sampler = Sampler("dpmpp_2m", 6, seeds=0)
    x = sampler.start(SHAPE)
    kept = x.clone()
    with pytest.raises(UnsupportedError, match="step without out"):
        sampler.step(torch.tanh(x).requires_grad_(), 0, x, out=x)
    assert torch.equal(x, kept)
    y = sampler.step(torch.tanh(x).requires_grad_(), 0, x)
    with pytest.raises(UnsupportedError, match="step without out"):
        sampler.step(x, 1, y.detach(), out=torch.empty_like(x))  # an earlier output has a gradient


def test_an_ordinary_module_runs_step_by_step() -> None:
    """Its weights ask for a gradient, so the loop of one's own either has it or forbids it."""
    model = nn.Conv2d(1, 1, 3, padding=1)
    sampler = Sampler("euler_ancestral", 5, seeds=0)
    x = start = sampler.start(SHAPE)
    for i in range(len(sampler)):
        x = sampler.step(model(x), i, x)
    x.square().sum().backward()  # type: ignore[no-untyped-call]
    assert model.weight.grad is not None and model.weight.grad.isfinite().all()
    sampler.reset()
    y = start.clone()
    with torch.no_grad():
        for i in range(len(sampler)):
            y = sampler.step(model(y), i, y, out=y)
    assert torch.equal(y, x)

"""Optimised models of classes that have ways of their own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse


class Halved(nn.Module):
    """Calls itself otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)

    def __call__(self, x: Tensor) -> Any:
        return super().__call__(x * 0.5) + 1


def check(model: nn.Module) -> Any:
    optimized: Any = genfuse.optimize(model)
    with torch.no_grad():
        for frozen in (False, True):
            optimized.freeze(frozen)
            for each in (optimized, copy.deepcopy(optimized)):
                for _ in range(2):
                    x = torch.randn(1, 3, 8, 8)
                    torch.testing.assert_close(each(x), model(x), rtol=1e-5, atol=1e-5)
    assert isinstance(optimized, type(model))
    assert genfuse.optimize(optimized)(x).requires_grad
    return optimized.report()


def test_a_call_of_its_own_is_made_once() -> None:
    assert check(Halved().eval()).fused


def test_graph_modules() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    assert check(torch.fx.symbolic_trace(model)).fused
    # its calls are ATen's, in which nothing is found to fuse
    check(torch.export.export(model, (torch.randn(1, 3, 8, 8),)).module())


def test_a_register_of_subclasses_is_not_told() -> None:
    register: list[str] = []

    class Registered(Halved):
        def __init_subclass__(cls, *, name: str) -> None:
            register.append(name)

    class Named(Registered, name="named"):
        pass

    check(Named())
    assert register == ["named"]


class Guided(Halved):
    """Differentiates inside, whatever the caller's mode, and goes on without."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.conv(x).square().sum(), x)
        return self.conv(gradient)


class Recorded(Halved):
    """All in one graph."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        with torch.enable_grad():
            return y + self.conv(x).square()


@torch.no_grad()
@pytest.mark.parametrize("make", [Guided, Recorded])
@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_that_are_enabled_inside(make: type[Halved], frozen: bool) -> None:
    torch._dynamo.reset()
    model = make().eval()
    optimized: Any = genfuse.optimize(model)
    optimized.freeze(frozen)
    for _ in range(3):
        x = torch.randn(1, 3, 8, 8)
        got, want = optimized(x), model(x)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
        assert got.requires_grad == want.requires_grad
    if want.requires_grad:
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(got.sum(), model.conv.weight)
            (expected,) = torch.autograd.grad(want.sum(), model.conv.weight)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)


class Stopped(Halved):
    """Gradients do not reach what is called without them, though what reads it is called with them."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.conv(x)
        return nn.functional.relu(y) + self.conv(x)


def test_gradients_that_are_disabled_inside() -> None:
    torch._dynamo.reset()
    model = Stopped()
    optimized, x = genfuse.optimize(model), torch.randn(1, 3, 8, 8)
    got, want = optimized(x), model(x)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    both = [torch.autograd.grad(y.square().sum(), model.conv.weight)[0] for y in (got, want)]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-4)

"""In an optimised model that trains no pass adds the gradients of an image that several units read."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import genfuse
from ops.test_fan_out import SHAPE, additions


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch._dynamo.reset()


def unit(channels: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.GroupNorm(2, channels), nn.SiLU(), nn.Conv2d(channels, 8, 3, padding=1))


class Network(nn.Module):
    """Two residual blocks, the second with a projection, and a skip over both."""

    def __init__(self, checkpointed: bool = False) -> None:
        super().__init__()
        self.checkpointed = checkpointed
        self.start = nn.Conv2d(8, 8, 3, padding=1)
        self.first, self.second = nn.Sequential(unit(), unit()), nn.Sequential(unit(), unit())
        self.projection = nn.Conv2d(8, 8, 1)
        self.end = unit(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        if self.checkpointed:
            return self.end(torch.cat([checkpoint(self.blocks, x, use_reentrant=False), x], 1))  # type: ignore[no-any-return]
        return self.end(torch.cat([self.blocks(x), x], 1))  # type: ignore[no-any-return]

    def blocks(self, x: Tensor) -> Tensor:
        y = self.first(x) + x
        z: Tensor = self.second(y) + self.projection(y)
        return z


def gradients(call: Any, x: Tensor, second: bool = False) -> tuple[Tensor, ...]:
    leaf = x.clone().requires_grad_()
    y = call(leaf)
    if second:
        (y,) = torch.autograd.grad(y.square().sum(), leaf, create_graph=True)
    return torch.autograd.grad(y.square().sum(), [leaf, *call.parameters()], allow_unused=True)


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize(("checkpointed", "memory"), [(False, None), (False, "low"), (True, None)])
def test_the_gradients_are_eagers(checkpointed: bool, memory: Any, second: bool) -> None:
    eager = Network(checkpointed)
    fast, x = genfuse.optimize(copy.deepcopy(eager), memory=memory), torch.randn(SHAPE)
    for _ in range(2):
        for got, want in zip(gradients(fast, x, second), gradients(eager, x, second), strict=True):
            assert (got is None) == (want is None)
            if want is not None:
                assert (got - want).abs().max() <= 1e-4 * want.abs().max() + 1e-5


@pytest.mark.parametrize("memory", [None, "low"])
def test_what_kernels_add_no_pass_does(memory: Any) -> None:
    """Of three gradients of the first image two are a kernel's, and one more is added to them."""
    eager = Network()
    fast, x = genfuse.optimize(copy.deepcopy(eager), memory=memory), torch.randn(SHAPE)
    passes = [additions(call(x).sum().backward) for call in (eager, fast)]
    assert passes == [3, 1]


def test_hooks_see_whole_gradients() -> None:
    """Of an image within the model, asked for by a hook of the layer that reads it first."""
    seen: list[Tensor] = []
    eager = Network()
    model = copy.deepcopy(eager)
    for one, call in ((eager, eager), (model, genfuse.optimize(model))):

        def tell(_: nn.Module, given: tuple[Tensor]) -> None:
            given[0].register_hook(seen.append)

        one.first.register_forward_pre_hook(tell)
        call(torch.ones(SHAPE)).square().sum().backward()
    want, got = seen
    assert (got - want).abs().max() <= 1e-4 * want.abs().max()

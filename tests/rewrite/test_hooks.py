"""Hooks of an optimised model, whenever they come."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import genfuse


@pytest.mark.parametrize("where", ["root", "child", "before"])
def test_hooks_after_the_first_call_are_noticed(where: str) -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    optimized, x = genfuse.optimize(model), torch.randn(1, 4, 9, 9)
    with torch.no_grad():
        plain = optimized(x)

        def add(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            return output + 1

        def double(module: nn.Module, inputs: Any) -> Any:
            return (inputs[0] * 2,)

        if where == "before":
            handle = model[0].register_forward_pre_hook(double)
        else:
            handle = (model if where == "root" else model[1]).register_forward_hook(add)
        assert not torch.allclose(optimized(x), plain, atol=0.1)
        torch.testing.assert_close(optimized(x), model(x), rtol=1e-5, atol=1e-5)
        handle.remove()
        torch.testing.assert_close(optimized(x), plain)


@torch.no_grad()
def test_hooks_of_all_modules() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    optimized, x = genfuse.optimize(model), torch.randn(1, 4, 9, 9)
    plain, seen = optimized(x), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, given, output: seen.append(module))
    try:
        torch.testing.assert_close(optimized(x), plain, rtol=1e-5, atol=1e-5)
    finally:
        handle.remove()
    assert seen == [model[0], model[1], model]
    assert torch.equal(optimized(x), plain)


def test_sizes_that_are_not_known_are_warned_of() -> None:
    torch._dynamo.reset()
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
    compiled: Any = torch.compile(model, backend="genfuse")
    with torch.no_grad():
        compiled(torch.randn(1, 4, 8, 8))
        with pytest.warns(UserWarning, match="pass dynamic=False"):
            compiled(torch.randn(1, 4, 9, 9))

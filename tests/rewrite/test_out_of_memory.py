"""A call that runs out of memory leaves model and plans as they were: the next call is right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse.rewrite.pool import Pool
from genfuse_kernels.conv_norm_act import cpu_impl


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch._dynamo.reset()


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(True),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.SiLU(True),
        nn.Conv2d(16, 3, 3, padding=1),
    ).eval()


@pytest.mark.parametrize("fails_at", [0, 1, 2])
@pytest.mark.parametrize("where", ["pack", "pool", "fold"])
@torch.no_grad()
def test_a_failed_call_leaves_nothing_behind(
    where: str, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner: Any
    owner, name = {
        "pack": (cpu_impl, "_pack"),
        "pool": (Pool, "_take"),
        "fold": (genfuse.rewrite.folding, "_fold"),
    }[where]
    model, x = network(), torch.randn(2, 3, 12, 12)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    want, original, calls = model(x), getattr(owner, name), 0
    optimized: Any = genfuse.optimize(model)

    def fails(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == fails_at + 1:
            raise MemoryError("none left")
        return original(*args)

    monkeypatch.setattr(owner, name, fails)
    if where == "fold" and fails_at:  # there is one
        assert torch.allclose(optimized(x), want, atol=1e-5)
    else:
        with pytest.raises(MemoryError, match="none left"):
            optimized(x)
    for _ in range(3):
        assert torch.allclose(optimized(x), want, atol=1e-5)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert optimized.report().plans[-1].nbytes > 0


@torch.no_grad()
def test_running_out_within_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network(), torch.randn(2, 3, 12, 12)
    optimized: Any = genfuse.optimize(model)
    want = optimized(x)
    (plan,) = optimized.report().plans[0]._plans.values()

    def fails(begin: int, end: int) -> None:
        raise MemoryError("none left")

    program: Any = plan.program

    class Failing:
        unchanged = program.unchanged
        run = staticmethod(fails)

    plan.program = Failing()
    with pytest.raises(MemoryError, match="none left"):
        optimized(x)
    plan.program = program
    assert torch.equal(optimized(x), want)


@torch.no_grad()
def test_an_edit_and_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that could not be packed anew are not taken for packed."""
    model, x = network(), torch.randn(1, 3, 12, 12)
    optimized: Any = genfuse.optimize(model)
    optimized(x)
    for parameter in model.parameters():
        parameter.mul_(1.5)

    def fails(conv: Any, weight: Tensor) -> Tensor:
        raise MemoryError("none left")

    with monkeypatch.context() as patch:
        patch.setattr(cpu_impl, "_pack", fails)
        with pytest.raises(MemoryError, match="none left"):
            optimized(x)
    assert torch.allclose(optimized(x), model(x), atol=1e-4)

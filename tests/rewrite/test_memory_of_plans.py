"""What plans remember of tensors besides their values: how to read them, and whose memory they are."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse.rewrite.plan import Plan, Planned


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch._dynamo.reset()
    gc.collect()


COMPLEX: dict[str, Callable[[Tensor], Tensor]] = {
    "conjugate": lambda y: y.conj(),
    "product": lambda y: y * y.conj(),
    "transposed": lambda y: y.mH,
    "joined": lambda y: torch.cat([y.conj(), y], 1),
    "transformed": lambda y: torch.fft.ifft2(y.conj()).real,
    "negated": lambda y: y.conj().imag,
    "edited": lambda y: y.conj().mul_(1j),
}


@torch.no_grad()
@pytest.mark.parametrize("name", COMPLEX)
def test_conjugates_stay_conjugates(name: str) -> None:
    conv = nn.Conv2d(3, 8, 3, padding=1)

    def function(x: Tensor) -> Tensor:
        return COMPLEX[name](torch.fft.fft2(conv(x)))

    planned = Planned(function)
    for _ in range(3):
        x = torch.randn(1, 3, 8, 8)
        torch.testing.assert_close(planned(x), function(x))
    assert planned.obstacle is None


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 64, 3), nn.GroupNorm(4, 64), nn.Conv2d(64, 64, 3)).eval()


REPLACED: dict[str, Callable[[nn.Sequential], Any]] = {
    "cast and back": lambda model: model.double().float(),
    "data": lambda model: [setattr(p, "data", torch.zeros_like(p)) for p in model.parameters()],
    "assigned": lambda model: model.load_state_dict(
        {name: t.clone() for name, t in model.state_dict().items()}, assign=True
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("name", REPLACED)
def test_a_frozen_plan_owns_the_memory_that_it_reads(name: str) -> None:
    model = small()
    optimized: Any = genfuse.optimize(model)
    x = torch.randn(2, 3, 16, 16)
    optimized(x)
    optimized.freeze()
    before = optimized(x)
    REPLACED[name](model)
    gc.collect()
    junk = [torch.full((64,), float("nan")) for _ in range(500)]
    assert torch.equal(optimized(x), before) and junk
    optimized.refresh()
    torch.testing.assert_close(optimized(x), model(x), rtol=1e-4, atol=1e-5)


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="genfuse", dynamic=False)


def frozen(model: nn.Module) -> Any:
    optimized: Any = genfuse.optimize(model)
    optimized.freeze()
    return optimized


@torch.no_grad()
@pytest.mark.parametrize("make", [genfuse.optimize, frozen, compiled])
def test_nothing_outlives_a_model(make: Callable[[nn.Module], Any]) -> None:
    model = small()
    model.append(nn.BatchNorm2d(64).eval())
    fast = make(model)
    for size in (8, 12):
        for _ in range(2):
            fast(torch.randn(1, 3, size, size))
    memory = [weakref.ref(tensor) for tensor in (*model.parameters(), *model.buffers())]
    plans = [weakref.ref(each) for each in gc.get_objects() if type(each) is Plan]
    assert plans
    del model, fast
    gc.collect()
    assert not any(each() for each in plans) and not any(each() is not None for each in memory)


@torch.no_grad()
def test_plans_go_with_the_optimised_model() -> None:
    model = small()
    genfuse.optimize(model)(torch.randn(1, 3, 8, 8))
    gc.collect()
    assert not any(type(each) is Planned for each in gc.get_objects())
    optimized = genfuse.optimize(model, reproducible=False)
    x = torch.randn(1, 3, 8, 8)
    gc.collect()
    for _ in range(2):
        torch.testing.assert_close(optimized(x), model(x), rtol=1e-4, atol=1e-5)


class Parts(nn.Module):
    """Its weights are views that leave gaps."""

    def __init__(self) -> None:
        super().__init__()
        self.big = nn.Parameter(torch.randn(64, 32, 3, 3))
        self.rows = nn.Parameter(torch.randn(16, 64, 3, 3)[::2])

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(nn.functional.conv2d(x, self.big[:, :3]), self.rows)


@torch.no_grad()
def test_edits_of_weights_with_gaps_are_seen() -> None:
    model = Parts()
    optimized, x = genfuse.optimize(model), torch.randn(1, 3, 9, 9)
    edits = (lambda: None, lambda: model.big.data[6:].mul_(2), lambda: model.rows.data[4:].mul_(3))
    for edit in edits:
        edit()
        want = model(x)
        by_ops = genfuse.ops.conv_norm_act(genfuse.ops.conv_norm_act(x, model.big[:, :3]), model.rows)
        for got in (optimized(x), optimized(x), by_ops):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5 * float(want.abs().max()))

"""Edits in place around a unit: nothing that it reads is edited between where it stood and where it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse


class Layers(nn.Module):
    def __init__(self, body: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.norm, self.linear = nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.Linear(8, 8)
        self.body = body

    def forward(self, x: Tensor) -> Any:
        return self.body(self, x)


def source_changes(s: Any, x: Tensor) -> Any:
    h = x * 2.5
    y = s.conv(h)
    h.add_(1)
    return y + h


def source_is_cleared(s: Any, x: Tensor) -> Any:
    h = x * 2.5
    y = s.conv(h)
    h.mul_(0)
    return F.relu(y)


def norms_source_is_cleared(s: Any, x: Tensor) -> Any:
    h = x + 1
    n = s.norm(h)
    h.zero_()
    return F.silu(n)


def residual_is_cleared(s: Any, x: Tensor) -> Any:
    r = x + 1
    y = s.conv(x) + r
    r.zero_()
    return F.relu(y)


def shift_is_cleared(s: Any, x: Tensor) -> Any:
    e = x.mean((2, 3), keepdim=True)
    z = s.conv(x) + e
    e.zero_()
    return F.relu(z)


def halves_are_cleared(s: Any, x: Tensor) -> Any:
    a = x + 1
    z = torch.cat([a[:, :4], a[:, 4:]], 1)
    a.zero_()
    return s.conv(z)


def a_view_is_cleared(s: Any, x: Tensor) -> Any:
    h = x + 0.5
    v = h[:, :4]
    y = s.conv(h)
    v.zero_()
    return y + h


def argument_changes(s: Any, x: Tensor) -> Any:
    x.mul_(2)
    return s.conv(x)


def tokens_are_cleared(s: Any, x: Tensor) -> Any:
    t = x.flatten(2).transpose(1, 2) + 0
    y = s.linear(t)
    t.zero_()
    return F.relu(y)


def product_with_one_changes(s: Any, x: Tensor) -> Any:
    y = x / 1
    y.mul_(0)
    return s.conv(x) + y


def product_with_one_is_the_callers(s: Any, x: Tensor) -> Any:
    y = s.conv(x) * 1
    y.add_(1)
    return y, s.conv(x) / 1


def product_with_one_promotes(s: Any, x: Tensor) -> Any:
    i = torch.arange(8)
    return s.conv(x), i * 1.0, i / 1


def into_a_room(s: Any, x: Tensor) -> Any:
    room = torch.empty_like(x)
    torch.add(s.conv(x), x, out=room)
    return room * 2


def activation_into_a_room(s: Any, x: Tensor) -> Any:
    room = torch.empty_like(x)
    torch.tanh(s.conv(x), out=room)
    return s.conv(room)


def output_changes_through_a_view(s: Any, x: Tensor) -> Any:
    y = s.conv(s.conv(x))
    y.view(2, -1)[:, 0] = 7
    return s.conv(y) * 2


def in_place_all_the_way(s: Any, x: Tensor) -> Any:
    y = s.conv(x).relu_().mul_(2).add_(x)
    y += x
    return F.leaky_relu(s.conv(y), 0.2, True)


def of_other_dtypes(s: Any, x: Tensor) -> Any:
    narrow = torch.cat([x[:, :4].bfloat16(), x[:, 4:]], 1)
    integers = torch.cat([(x[:, :4] > 0).int(), x[:, 4:]], 1)
    count = (x > 0).int()
    count += (x > 1).int()
    return s.conv(narrow), s.conv(integers), count


BODIES = {
    source_changes: 0,
    source_is_cleared: 1,
    norms_source_is_cleared: 0,
    residual_is_cleared: 1,
    shift_is_cleared: 1,
    halves_are_cleared: 1,
    a_view_is_cleared: 0,
    argument_changes: 0,
    tokens_are_cleared: 0,
    product_with_one_changes: 1,
    product_with_one_is_the_callers: 2,
    product_with_one_promotes: 1,
    into_a_room: 1,
    activation_into_a_room: 1,
    output_changes_through_a_view: 1,
    in_place_all_the_way: 2,
    of_other_dtypes: 2,
}
"""How many convolutions are units: at least those that have nothing to do with what is edited."""


@torch.no_grad()
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("frozen", [False, True])
def test_results_and_arguments_are_the_models(body: Callable[[Any, Tensor], Any], frozen: bool) -> None:
    model = Layers(body).eval()
    optimized: Any = genfuse.optimize(model)
    optimized.freeze(frozen)
    for _ in range(3):
        x = torch.randn(2, 8, 12, 12)
        theirs, ours = x.clone(), x.clone()
        want, got = model(theirs), optimized(ours)
        assert torch.equal(theirs, ours)
        pairs = zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]
        for mine, other in pairs:
            assert mine.dtype == other.dtype and torch.allclose(mine, other, atol=1e-4)
    assert len(optimized.report().fused) == BODIES[body]
    if BODIES[body] == 0 and "norm" not in body.__name__ and "tokens" not in body.__name__:
        assert optimized.report().left[0].reason == "its tensors are edited in place"


@torch.no_grad()
def test_a_view_of_what_is_edited_stays_a_view() -> None:
    def body(s: Any, x: Tensor) -> Any:
        y = s.conv(x)
        v = y.view(2, -1)
        v[:, 0] = 7
        return y * 2

    model = nn.Sequential(nn.Conv2d(8, 8, 1), Layers(body)).eval()
    optimized = genfuse.optimize(model)
    for _ in range(3):
        x = torch.randn(2, 8, 12, 12)
        assert torch.allclose(optimized(x), model(x), atol=1e-5)

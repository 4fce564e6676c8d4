"""What stands between the kernels of a plan: small calls of PyTorch's that a program makes itself, with their bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse import env
from genfuse.rewrite.plan import Planned
from rewrite.test_plan import plan_of

pytestmark = pytest.mark.skipif(
    env.backend_missing("cpu") is not None, reason="the compiled extension is not built here"
)


@torch.no_grad()
def calls_left(function: Callable[..., Any], *makers: Callable[[], Tensor]) -> list[str]:
    """PyTorch's calls in the function's plan, which gives the function's own bits, strides and dtype."""
    planned = Planned(function)
    for _ in range(3):
        inputs = [make() for make in makers]
        got, want = planned(*inputs), function(*inputs)
        assert torch.equal(got, want) or (got.isnan() == want.isnan()).all(), (got, want)
        assert got.stride() == want.stride() and got.dtype == want.dtype
    return [step.function.__name__ for step in plan_of(planned).steps if not isinstance(step, tuple)]


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.uint8])
@pytest.mark.parametrize("shape", [(3, 4, 3), (2, 3, 4, 5), (7,)])
def test_small_concatenations(dim: int, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    def make() -> Tensor:
        return (torch.rand(shape) * 9).to(dtype)

    dim = max(dim, -len(shape)) if dim < 0 else min(dim, len(shape) - 1)
    assert not calls_left(lambda a, b: torch.cat([a, b, a], dim), make, make)


def test_concatenations_of_other_layouts_and_sizes() -> None:
    def last() -> Tensor:
        return torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)

    assert not calls_left(lambda a, b: torch.cat([a, b], 1), last, last)
    large, empty = torch.randn(2, 200, 300), torch.randn(4, 0, 3)
    strided = torch.randn(4, 3, 2).transpose(1, 2)
    for a, b, left in (
        (large, large, True),
        (strided, strided, False),
        (torch.randn(4, 2, 3), torch.ones(4, 1, 3).half(), True),
        (torch.ones(4, 1, 3), empty, False),
        (empty, empty, False),
    ):
        found = calls_left(lambda a, b: torch.cat([a, b], 1), lambda a=a: a, lambda b=b: b)  # type: ignore[misc]
        assert bool(found) is left


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.bool])
def test_copies_to_another_layout(dtype: torch.dtype) -> None:
    def last() -> Tensor:
        return (torch.randn(2, 5, 4, 3) > 0).to(dtype).contiguous(memory_format=torch.channels_last)

    assert not calls_left(lambda x: x.contiguous(), last)
    assert not calls_left(
        lambda x: x.contiguous(memory_format=torch.channels_last), lambda: last().contiguous()
    )
    assert not calls_left(lambda x: x.clone(), last)
    assert not calls_left(lambda x: x[:, 1::2].permute(3, 0, 2, 1).contiguous(), last)
    assert calls_left(lambda x: x.contiguous(), lambda: torch.zeros(2, 600, 400, dtype=dtype).transpose(1, 2))


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a * b,
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a[:, None] * b[None],
        lambda a, b: a * 0.1,
        lambda a, b: a - 3,
    ],
)
def test_arithmetic(function: Callable[..., Tensor]) -> None:
    special = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-42, 3e38, 1.1])
    assert not calls_left(function, lambda: special[torch.randperm(8)], lambda: torch.randn(8))


def _image(last: bool = False) -> Tensor:
    x = torch.randn(2, 12, 6, 8)
    return x.contiguous(memory_format=torch.channels_last) if last else x


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, (3, 2), stride=(2, 1)),
        lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"),
        lambda x: F.interpolate(x, size=(12, 32), mode="nearest"),
        lambda x: F.pixel_shuffle(x, 2),
        lambda x: F.pixel_unshuffle(x, 2),
        lambda x: x / x.flip(0).contiguous(),
        lambda x: x[:, :4] + x[:, 4:8],
        lambda x: x.mT.contiguous() - x.transpose(2, 3),
    ],
)
def test_images(function: Callable[..., Tensor], last: bool) -> None:
    left = calls_left(function, lambda: _image(last))
    assert left in ([], ["flip.default"])


def test_tables_are_looked_up() -> None:
    table = torch.randn(7, 5)

    def index() -> Tensor:
        return torch.randint(0, 7, (3, 2))

    assert not calls_left(lambda i: F.embedding(i, table), index)
    planned = Planned(lambda i: F.embedding(i, table))
    with torch.no_grad(), pytest.raises((IndexError, ValueError), match="index"):
        planned(torch.tensor([7]))


def test_integers_and_waves() -> None:
    def steps() -> Tensor:
        return torch.randint(-(2**62), 2**62, (5,))

    assert not calls_left(lambda t: t * torch.ones(5, dtype=torch.int64), steps)
    assert not calls_left(lambda t: t[:, None].float(), steps)
    for wave in (torch.sin, torch.cos):
        planned = Planned(lambda x, wave=wave: wave(x))
        with torch.no_grad():
            for _ in range(2):
                x = torch.randn(40) * 1000
                want = wave(x.double()).float()
                assert torch.equal(planned(x), want)
                assert torch.allclose(planned(x), wave(x), atol=1.2e-7, rtol=0)
        assert all(isinstance(step, tuple) for step in plan_of(planned).steps)


def test_the_rest_is_pytorchs() -> None:
    def dense() -> Tensor:
        return torch.randn(4, 3)

    assert calls_left(lambda x: x.double() * 2.0, dense)
    assert calls_left(lambda x: torch.add(x, x, alpha=2), dense)
    assert calls_left(lambda x: x[:, :1].expand(4, 3) * x[:, ::2].sum(), dense)
    assert calls_left(lambda x: x * torch.tensor(2.0), dense)
    assert calls_left(lambda x: x.sum() * 2.0, dense)
    assert calls_left(lambda x: (x * 2j).real.contiguous(), dense)


@torch.no_grad()
def test_tables_stay_made_once() -> None:
    """What is the same in every run is not glue."""

    def function(x: Tensor) -> Tensor:
        table = torch.exp(torch.arange(3, dtype=torch.float32) * -0.5)
        return x * table

    planned = Planned(function)
    for _ in range(2):
        x = torch.randn(4, 3)
        assert torch.equal(planned(x), function(x))
    assert plan_of(planned).steps == [(0, 1)]

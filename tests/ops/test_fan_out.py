"""The gradient of an image that several units read: autograd's, with fewer passes over memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.profiler import profile

import genfuse
from genfuse.ops.fan_out import fan_out

SHAPE = (2, 8, 6, 5)


def unit(x: Tensor, weight: Tensor, **options: Any) -> Tensor:
    y = genfuse.ops.conv_norm_act(
        x, weight, padding=1, norm="group", num_groups=2, activation="silu", accuracy="exact", **options
    )
    assert isinstance(y, Tensor)
    return y


def plain(x: Tensor, weight: Tensor) -> Tensor:
    y = genfuse.ops.conv_norm_act(x, weight, padding=1, accuracy="exact")
    assert isinstance(y, Tensor)
    return y


def no_fan(x: Tensor, readers: int) -> tuple[Tensor, ...]:
    return (x,) * readers


Read = Callable[[Tensor, int], tuple[Tensor, ...]]


def residual(x: Tensor, read: Read) -> Tensor:
    """As a residual block has it."""
    torch.manual_seed(3)
    first, second = (torch.randn(8, 8, 3, 3).to(x) / 8 for _ in range(2))
    a, b = read(x, 2)
    return unit(unit(a, first), second, residual=b)


def everything(x: Tensor, read: Read) -> Tensor:
    """Beside these as skip, by a unit without a norm, whose kernel does not add, and by what is none of ours."""
    torch.manual_seed(4)
    of_skip, of_plain = torch.randn(8, 16, 3, 3).to(x) / 8, torch.randn(8, 8, 3, 3).to(x) / 8
    a, b, c, d = read(x, 4)
    y = residual(x, lambda *_: (a, b))
    return unit(y, of_skip, skip=c) * plain(d, of_plain) + x.sin()


def loss_of(make: Callable[[Tensor, Read], Tensor], x: Tensor, read: Read) -> Tensor:
    return make(x, read).square().sum()


def additions(run: Callable[[], Any]) -> int:
    """Passes that add two whole images."""
    with profile(record_shapes=True) as found:
        run()
    return sum(
        event.name in ("aten::add", "aten::add_") and event.input_shapes[:2] == [list(SHAPE)] * 2
        for event in found.function_events
    )


@pytest.mark.parametrize(("make", "fewer"), [(residual, 1), (everything, 2)])
def test_fewer_passes_and_the_same_gradient(make: Callable[[Tensor, Read], Tensor], fewer: int) -> None:
    """From the same graph again, too."""
    x = torch.randn(SHAPE)
    with genfuse.backend("aten"):
        wide = x.double().requires_grad_()
        (want,) = torch.autograd.grad(loss_of(make, wide, no_fan), wide)
    found, passes = [], []
    for read in (no_fan, fan_out):
        leaf = x.clone().requires_grad_()
        loss = loss_of(make, leaf, read)
        found.append(torch.autograd.grad(loss, leaf, retain_graph=True)[0])
        passes.append(
            additions(lambda loss=loss, leaf=leaf: found.append(torch.autograd.grad(loss, leaf)[0]))
        )
    assert passes[1] == passes[0] - fewer
    assert torch.equal(found[2], found[3])
    for got in found:
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()
    if make is residual:
        assert torch.equal(found[0], found[2]), "a sum of two, rounded once, whoever adds"


def test_half_precision_is_rounded_less_often() -> None:
    x = torch.randn(SHAPE).bfloat16()
    with genfuse.backend("aten"):
        wide = x.double().requires_grad_()
        (want,) = torch.autograd.grad(loss_of(residual, wide, no_fan), wide)
    errors = []
    for read in (no_fan, fan_out):
        leaf = x.clone().requires_grad_()
        (got,) = torch.autograd.grad(loss_of(residual, leaf, read), leaf)
        errors.append(float((got.double() - want).square().mean()))
    assert errors[1] <= errors[0]


def test_an_image_that_is_its_own_residual() -> None:
    x, weight = torch.randn(SHAPE, requires_grad=True), torch.randn(8, 8, 3, 3) / 8
    for scale in (1.0, 0.5):
        y = unit(x, weight, residual=x, scale=scale)
        apart = unit(x, weight, residual=x.view_as(x), scale=scale)
        got: list[Tensor] = []
        passes = additions(lambda y=y: got.extend(torch.autograd.grad(y.square().sum(), x)))  # noqa: B023
        assert passes == (0 if scale == 1 else 1)
        assert torch.equal(got[0], torch.autograd.grad(apart.square().sum(), x)[0])


def test_some_readers_alone_and_passes_that_fail() -> None:
    x = torch.randn(SHAPE, requires_grad=True)
    a, b, c = fan_out(x, 3)
    weight = torch.randn(8, 8, 3, 3) / 8
    one, two = unit(a, weight), unit(b, weight, residual=c)
    (of_one,) = torch.autograd.grad(one.sum(), x, retain_graph=True)
    (of_two,) = torch.autograd.grad(two.sum(), x, retain_graph=True)
    fails = x.register_hook(lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        torch.autograd.grad(one.sum() + two.sum(), x, retain_graph=True)
    fails.remove()
    early = one.register_hook(lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        torch.autograd.grad(one.sum() + two.sum(), x, retain_graph=True)
    early.remove()
    (both,) = torch.autograd.grad(one.sum() + two.sum(), x)
    assert torch.allclose(both, of_one + of_two, rtol=1e-5, atol=1e-5)


def test_gradients_of_gradients() -> None:
    x = torch.randn(SHAPE)
    found = []
    for read in (no_fan, fan_out):
        leaf = x.clone().requires_grad_()
        (of_x,) = torch.autograd.grad(loss_of(everything, leaf, read), leaf, create_graph=True)
        found.append((of_x, *torch.autograd.grad(of_x.square().sum(), leaf)))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_nothing_is_made_where_nothing_is_needed() -> None:
    x = torch.randn(SHAPE)
    assert all(alias is x for alias in fan_out(x, 2))
    with torch.no_grad():
        assert all(alias is x for alias in fan_out(x.requires_grad_(), 2))

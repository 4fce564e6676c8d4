"""A backward pass computes the gradients that it is asked for, whatever else its graph could give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.ops import conv_norm_act, norm_act
from genfuse_kernels.conv_norm_act import cpu_gradient as unit_kernels
from genfuse_kernels.norm_act import cpu_gradient as pass_kernels

GROUP: dict[str, Any] = {"norm": "group", "num_groups": 4, "activation": "silu"}


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[set[str]]]:
    """What the kernels are asked for, call by call."""
    asked: list[set[str]] = []
    for module, name in ((unit_kernels, "conv_norm_act_gradient"), (pass_kernels, "norm_act_gradient")):
        kernels = getattr(module, name)

        def spy(*args: Any, kernels: Any = kernels, **options: Any) -> Any:
            asked.append(set(options["needs"]))
            return kernels(*args, **options)

        monkeypatch.setattr(module, name, spy)
    yield asked


def leaves() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    shapes = (2, 8, 6, 6), (8, 8, 3, 3), (8,)
    x, weight, norm_weight = (torch.randn(shape).requires_grad_() for shape in shapes)
    return x, weight, norm_weight


def test_of_some_inputs_alone(needs: list[set[str]]) -> None:
    x, weight, norm_weight = leaves()
    of = {"x": x, "weight": weight, "norm_weight": norm_weight}
    y = conv_norm_act(x * 1, weight, padding=1, norm_weight=norm_weight, **GROUP).square().sum()
    whole = dict(zip(of, torch.autograd.grad(y, list(of.values()), retain_graph=True), strict=True))
    assert needs.pop() == set(of)
    for name, leaf in of.items():
        (found,) = torch.autograd.grad(y, leaf, retain_graph=True)
        assert torch.equal(found, whole[name])
        assert needs.pop() == {name}
    y.backward(inputs=[weight])
    assert needs.pop() == {"weight"} and torch.equal(weight.grad, whole["weight"]) and x.grad is None  # type: ignore[arg-type]


def test_of_a_norm_alone(needs: list[set[str]]) -> None:
    x, _, norm_weight = leaves()
    y = norm_act(x * 1, norm_weight=norm_weight, **GROUP).square().sum()
    torch.autograd.grad(y, norm_weight, retain_graph=True)
    assert needs.pop() == {"norm_weight"}
    torch.autograd.grad(y, x)
    assert needs.pop() == {"x"}


def test_many_gradients_at_once() -> None:
    """`is_grads_batched`, by PyTorch's own ops, and jacobians by it."""
    x, weight, norm_weight = leaves()
    for y in (
        conv_norm_act(x, weight, padding=1, norm_weight=norm_weight, out_activation="tanh", **GROUP),
        norm_act(x, norm_weight=norm_weight, **GROUP),
    ):
        given = torch.randn(3, *y.shape)
        found = torch.autograd.grad(y, [x, norm_weight], given, is_grads_batched=True, retain_graph=True)
        for i in range(3):
            one_by_one = torch.autograd.grad(y, [x, norm_weight], given[i], retain_graph=True)
            for many, one in zip(found, one_by_one, strict=True):
                torch.testing.assert_close(many[i], one, rtol=1e-4, atol=1e-4)


def test_images_that_units_share_hold_nothing_after_passes_that_do_not_reach_them() -> None:
    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.conv = torch.nn.GroupNorm(4, 8), torch.nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.conv(torch.nn.functional.silu(self.norm(x)))

    model = torch.nn.Sequential(Residual(), Residual(), Residual())
    y = genfuse.optimize(model)(torch.randn(2, 8, 6, 6, requires_grad=True)).sum()
    fans, nodes = [], [y.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None:
            fans += [node.fan] if hasattr(node, "fan") else []
            nodes += [before for before, _ in node.next_functions]
    assert fans
    torch.autograd.grad(y, model[2].conv.weight, retain_graph=True)  # type: ignore[union-attr]
    assert not any(fan._passes for fan in fans)
    torch.autograd.grad(y, model[0].conv.weight, retain_graph=True)  # type: ignore[union-attr]
    y.backward()
    assert not any(fan._passes for fan in fans)

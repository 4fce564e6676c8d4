"""The gradient of a gradient that the CPU kernels took, in float32, against all of it in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS
from ops.unit_kinds import KINDS, UnitCall, unit_call

CLOSE = 1e-3
"""Of the largest gradient of a tensor, and a hundredth of it of the largest of all: some are nothing but rounding."""


def orders(
    call: UnitCall, leaves: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
) -> list[tuple[Tensor, ...]]:
    """All gradients of a weighted output, and all of a weighted sum of those."""
    first = torch.autograd.grad(weighted(outputs), leaves, create_graph=True, materialize_grads=True)
    second = torch.autograd.grad(weighted(first), leaves, materialize_grads=True)
    return [tuple(t.detach() for t in first), second]


def weighted(tensors: tuple[Tensor, ...]) -> Tensor:
    """Weights of each tensor are its own; by the squares a convolution's second order is more than zero."""
    generator = torch.Generator().manual_seed(9)
    total = torch.zeros((), dtype=torch.float64)
    for t in tensors:
        wide, w = t.double(), torch.randn(t.shape, generator=generator, dtype=torch.float64)
        total = total + ((wide + 0.1 * wide.square()) * w).sum()
    return total


def is_by_kernels(y: Tensor) -> bool:
    """Whether our own backward stands somewhere behind y."""
    behind: list[Any] = [y.grad_fn]
    while behind:
        node = behind.pop()
        if node is not None and node.name() == "_UnitBackward":
            return True
        behind += [before for before, _ in node.next_functions] if node is not None else []
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_of_the_kernels(kind: str, proof: bool) -> None:
    """Norms and activations in turn; all of each under `make proof`."""
    number = list(KINDS).index(kind)
    turn = [
        (NORMS[(number + i) % len(NORMS)], ACTIVATIONS[(2 * number + 3 * i) % len(ACTIVATIONS)])
        for i in range(3)
    ]
    for norm, activation in [(n, a) for n in NORMS for a in ACTIVATIONS] if proof else turn:
        call = unit_call(
            kind, norm, activation, 100 * number, channels=32
        )  # groups of 16: the kernels take them
        results = []
        for dtype in (torch.float32, torch.float64):
            leaves = call.inputs(dtype)
            outputs = call(*leaves)
            assert is_by_kernels(outputs[0]) == (dtype == torch.float32 and kind != "depthwise")
            results.append(orders(call, leaves, outputs))
        for got, exact in zip(*results, strict=True):
            largest = max(t.abs().max() for t in exact)
            for a, b in zip(got, exact, strict=True):
                assert (a - b).abs().max() <= CLOSE * (b.abs().max() + largest / 100), (norm, activation)

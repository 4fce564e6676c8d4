"""Both orders of the ops' gradients in float64 against finite differences, every norm, activation and kind of unit."""

from __future__ import annotations

from itertools import product

import pytest
from torch.autograd import gradcheck, gradgradcheck

from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, Norm
from ops.cpu_cases import threads
from ops.unit_kinds import KINDS, NORM_KINDS, UnitCall, norm_call, unit_call


def check(call: UnitCall) -> None:
    inputs = call.inputs()
    with threads(1):  # tensors of a few elements
        assert gradcheck(call, inputs, fast_mode=True)
        assert gradgradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_units(kind: str, norm: Norm, proof: bool) -> None:
    """Activations in turn; all of each under `make proof`."""
    number = list(KINDS).index(kind) + 2 * NORMS.index(norm)
    for activation in ACTIVATIONS if proof else [ACTIVATIONS[number % len(ACTIVATIONS)]]:
        check(unit_call(kind, norm, activation, 100 * number))


@pytest.mark.parametrize("kind", NORM_KINDS)
def test_norms_alone(kind: str, proof: bool) -> None:
    every = list(product(NORMS, ACTIVATIONS))
    first = list(NORM_KINDS).index(kind)
    for norm, activation in every if proof else every[first :: len(NORM_KINDS) + 1]:
        check(norm_call(NORM_KINDS[kind], norm, activation, 100 * first))

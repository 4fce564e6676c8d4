"""Every tangent rule in float64 against double backward, under every name that the function has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import get_ignored_functions

import genfuse
from genfuse.penalties import recorder
from penalties.double_backward import assert_exact, by_double_backward, by_tangents, deviation, samples
from penalties.functions import FUNCTIONS, Use

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*reduces over the first axis"),
    pytest.mark.filterwarnings("ignore:Implicit dimension choice"),
]

SHAPE = (3, 4, 6, 6)


class Critic(nn.Module):
    """The function between two steps that are curved themselves, so that no derivative of it is constant."""

    def __init__(self, use: Use) -> None:
        super().__init__()
        self.use = use
        self.first, self.weight, self.scores = (nn.Parameter(torch.randn(4, 6, 6)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first * x + 0.1 * x * x
        result = self.use(h, self.weight)
        parts = [result] if isinstance(result, Tensor) else [t for t in result if t.is_floating_point()]
        total = torch.zeros((), dtype=torch.float64)
        for part in parts:
            rows = part.reshape(x.shape[0], -1)
            weights = torch.arange(rows.shape[1], dtype=torch.float64).cos() + self.scores[0, 0, 0]
            total = total + F.softplus(rows.double() * weights).sum(1)
        return total


def at_most(name: str) -> float:
    return 1e-5 if ".float(" in name else 1e-10  # float32's rounding


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    assert_exact(Critic(FUNCTIONS[name]), "zero-centered", SHAPE, at_most(name))


def test_hardsigmoid() -> None:
    """Which PyTorch cannot differentiate twice: by what it is."""
    real, _ = samples(SHAPE)
    found = []
    for use in (F.hardsigmoid, lambda h: F.relu6(h + 3) / 6):
        torch.manual_seed(1)
        critic = Critic(lambda h, w, use=use: use(4 * h) * w).double()
        weights = list(critic.parameters())
        found.append(by_tangents(critic, real, real, "r1", weights))
    found.append(by_double_backward(critic, real, "r1", weights))
    assert max(deviation(found[0], found[2]), deviation(found[1], found[2])) <= 1e-7  # its sixth is float32's


class Register(dict[Any, Any]):
    """The functions that were looked up."""

    def __init__(self, rules: dict[Any, Any]) -> None:
        super().__init__(rules)
        self.met: set[Any] = set()

    def get(self, function: Any, default: Any = None) -> Any:
        self.met.add(function)
        return super().get(function, default)


ELSEWHERE = (F.hardsigmoid, Tensor.half, Tensor.bfloat16, Tensor.cuda, Tensor.cpu)
"""Tested above; with low precision; on a GPU alone."""


def test_no_function_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name of every rule is in `FUNCTIONS`, but genfuse's own ops, which the critics have."""
    rules, compositions = Register(recorder.RULES), Register(recorder.COMPOSITIONS)
    monkeypatch.setattr(recorder, "RULES", rules)
    monkeypatch.setattr(recorder, "COMPOSITIONS", compositions)
    for use in FUNCTIONS.values():
        critic = Critic(use).double()
        genfuse.gradient_penalty(critic, torch.randn(SHAPE, dtype=torch.float64), kind="r1")
    missed = {*rules, *compositions} - rules.met - compositions.met - {*ELSEWHERE} - get_ignored_functions()
    assert not [str(f) for f in missed if "genfuse" not in f"{f} {getattr(f, '__module__', '')}"]

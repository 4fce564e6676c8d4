"""Every kind of penalty on every supported module, in float64, against double backward."""

from __future__ import annotations

import pytest
import torch

from genfuse.penalties.kinds import KIND_NAMES
from penalties.critics import CRITICS, SHAPE, Projection, perturbed
from penalties.double_backward import PENALTIES, assert_exact

pytestmark = pytest.mark.filterwarnings("ignore:.*reduces over the first axis")


@pytest.mark.parametrize("kind", KIND_NAMES)
@pytest.mark.parametrize("name", CRITICS)
def test_kinds_and_modules(name: str, kind: str) -> None:
    assert_exact(perturbed(CRITICS[name]()), kind, SHAPE)


def test_every_kind_is_held_against_its_formula() -> None:
    assert set(PENALTIES) == set(KIND_NAMES)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_conditional_critics(kind: str) -> None:
    assert_exact(perturbed(Projection()), kind, SHAPE, labels=torch.tensor([0, 3, 3, 1]))

"""Every kind of penalty on every supported module, in float64, against double backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genfuse.ops import conv_norm_act, norm_act
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


class Derived(nn.Module):
    """Weights made of one another, some used in two places; all of them in curved layers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.embedding = nn.Parameter(torch.randn(8, 8)), nn.Embedding(4, 6)
        self.modulation = nn.Linear(6, 16)
        self.convolution = nn.Conv2d(3, 8, 8)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        embedded = self.embedding(labels)
        scale, shift = self.modulation(embedded).chunk(2, dim=1)
        h = torch.tanh(self.convolution(x).flatten(1))
        h = F.silu(F.linear(h, self.weight) * scale + shift)
        h = torch.tanh(F.linear(h, self.weight.t()))
        h = F.silu(F.linear(h, self.weight / self.weight.norm()))
        return (h[:, :6] * embedded).sum(1) + h.sum(1)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_weights_made_of_weights(kind: str) -> None:
    """Each share of a gradient is counted once."""
    assert_exact(perturbed(Derived()), kind, SHAPE, labels=torch.tensor([0, 3, 3, 1]))


class InPlace(nn.Module):
    """Edits of what depends on the point, of a view of it, and of a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.scores = nn.Conv2d(3, 4, 3), nn.Linear(144, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.convolution(x).flatten(1)
        h = F.relu(h.mul_(1.5).sub_(0.3), True)
        h = F.silu(h * 1.2, inplace=True)
        h = F.hardtanh(h - 0.1, -0.2, 0.4, True)
        total = torch.zeros_like(h)
        total += h.sin().sigmoid_()
        total *= self.scores.weight
        return self.scores(total.exp())


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_edits_in_place(kind: str) -> None:
    assert_exact(perturbed(InPlace()), kind, SHAPE)


class SeededDropout(nn.Module):
    """genfuse's own dropout, whose mask follows from the samples' seeds, in a unit and in `norm_act`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.scores = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Linear(144, 1)

    def forward(self, x: Tensor, seeds: Tensor) -> Tensor:
        h = conv_norm_act(x, self.weight, norm="layer", activation="silu", dropout=0.3, seeds=seeds)
        y = norm_act(h, norm="instance", activation="tanh", dropout=0.2, dropout_stream=1, seeds=seeds)  # type: ignore[arg-type]
        scores: Tensor = self.scores(y.flatten(1))  # type: ignore[union-attr]
        return scores


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_seeded_dropout(kind: str) -> None:
    assert_exact(perturbed(SeededDropout()), kind, SHAPE, seeds=torch.arange(4))

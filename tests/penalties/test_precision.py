"""Float32, half precision and autocast: the error against float64, beside double backward's at the same precision."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse_kernels.conv_norm_act.spec import UNIT_ROUNDOFF
from penalties.critics import CRITICS, SHAPE, perturbed
from penalties.double_backward import by_double_backward, by_tangents, samples

pytestmark = pytest.mark.filterwarnings("ignore:.*reduces over the first axis")

Compute = Callable[[nn.Module, Tensor], list[Tensor]]

SAME_IN_TWO_RUNS = [name for name in CRITICS if name != "dropout"]


def ours(network: nn.Module, point: Tensor) -> list[Tensor]:
    return by_tangents(network, point, point, "r1", list(network.parameters()))


def theirs(network: nn.Module, point: Tensor) -> list[Tensor]:
    with genfuse.backend("aten"):  # as ours: genfuse's kernels round less in half precision
        return by_double_backward(network, point, "r1", list(network.parameters()))


def errors(name: str, dtype: torch.dtype, is_autocast: bool) -> tuple[float, float]:
    """Of both, as the norm of what all gradients are off by, in the norm of them."""
    network = perturbed(CRITICS[name]())
    point = samples(SHAPE)[0].to(dtype)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(weight.to(dtype))  # the same numbers at every precision
    exact = theirs(copy.deepcopy(network).double(), point.double())
    low = (network, point.float()) if is_autocast else (network.to(dtype), point)
    found = []
    for compute in (ours, theirs):
        with torch.autocast("cpu", dtype=dtype if is_autocast else torch.bfloat16, enabled=is_autocast):
            found.append(compute(copy.deepcopy(low[0]), low[1]))
    size = distance(exact, [torch.zeros_like(t) for t in exact])
    return distance(found[0], exact) / size, distance(found[1], exact) / size


def distance(got: list[Tensor], want: list[Tensor]) -> float:
    return math.hypot(*(float((a.double() - b.double()).norm()) for a, b in zip(got, want, strict=True)))


PRECISIONS = {
    "float32": (torch.float32, False),
    "bfloat16": (torch.bfloat16, False),
    "float16": (torch.float16, False),
    "autocast to bfloat16": (torch.bfloat16, True),
    "autocast to float16": (torch.float16, True),
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_worse_than_double_backward(precision: str) -> None:
    """Over all critics no worse in the geometric mean, which scatters by 3 % from draw to draw; for none twice as bad.

    Below four units both are as good: norm, slope, direction and gradient are each rounded once.
    """
    dtype, is_autocast = PRECISIONS[precision]
    ratios = {}
    for name in SAME_IN_TWO_RUNS:
        mine, other = errors(name, dtype, is_autocast)
        least = 4 * UNIT_ROUNDOFF[dtype]
        ratios[name] = max(mine, least) / max(other, least)
    assert math.prod(ratios.values()) ** (1 / len(ratios)) <= 1.05, ratios
    assert max(ratios.values()) <= 2, ratios


def test_dtypes_of_results() -> None:
    for dtype, wide in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(144, 1)).to(dtype)
        penalty, norms = genfuse.gradient_penalty(
            network, samples(SHAPE)[0].to(dtype), kind="r1", return_norms=True
        )
        assert penalty.dtype == norms.dtype == wide
        penalty.backward()  # type: ignore[no-untyped-call]
        found = [weight.grad for weight in network.parameters()]
        assert [one is None for one in found] == [False, False, False, True]  # the scores' bias has none
        assert all(one is None or one.dtype == dtype for one in found)


class Inside(nn.Module):
    """A critic with an autocast region of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Conv2d(3, 4, 3, 1, 1), nn.Linear(256, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            h = torch.tanh(self.low(x))
        assert h.dtype == torch.bfloat16
        y: Tensor = self.high(h.flatten(1).float())
        return y


def test_autocast_inside_the_critic() -> None:
    network = Inside()
    point = samples(SHAPE)[0].float()
    got, want = ours(network, point), theirs(network, point)
    assert distance(got, want) <= 0.02 * distance(want, [torch.zeros_like(t) for t in want])


def test_a_scaled_loss() -> None:
    """As `torch.amp.GradScaler` has it: the gradients are computed at their own size, and scaled in backward."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(144, 1))
    point = samples(SHAPE)[0].float()
    gradients = []
    for scale in (1.0, 2.0**16):
        network.zero_grad()
        penalty = genfuse.gradient_penalty(network, point, kind="r1")
        assert isinstance(penalty, Tensor)
        (penalty * scale).backward()  # type: ignore[no-untyped-call]
        gradients.append([w.grad / scale for w in network.parameters() if w.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))

"""Convolutions on genfuse's kernels: each kind, held against double backward in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse_kernels.conv_norm_act.spec import UNIT_ROUNDOFF, WINOGRAD_GROWTH
from penalties.double_backward import WEIGHT, by_double_backward

WIDTH = 24

KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "3x3": (lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1), (3, WIDTH, 13, 11)),
    "1x1": (lambda: nn.Conv2d(WIDTH, WIDTH, 1, bias=False), (3, WIDTH, 5, 7)),
    "stride": (lambda: nn.Conv2d(WIDTH, WIDTH, 4, 2, 1), (3, WIDTH, 12, 17)),
    "dilation": (lambda: nn.Conv2d(WIDTH, WIDTH, (3, 1), dilation=(2, 1), padding=(2, 0)), (3, WIDTH, 9, 8)),
    "groups": (lambda: nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, groups=2), (2, 2 * WIDTH, 9, 8)),
    "few channels": (lambda: nn.Conv2d(3, 5, 5, padding=2), (4, 3, 9, 10)),
    "to one pixel": (lambda: nn.Conv2d(WIDTH, 1, 4), (5, WIDTH, 4, 4)),
    "reflected": (lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1, padding_mode="reflect"), (2, WIDTH, 8, 9)),
    "transposed": (lambda: nn.ConvTranspose2d(WIDTH, WIDTH, 4, 2, 1), (3, WIDTH, 6, 7)),
    "transposed, odd": (lambda: nn.ConvTranspose2d(WIDTH, 20, 3, 2, 1, 1), (3, WIDTH, 6, 7)),
    "from one pixel": (lambda: nn.ConvTranspose2d(WIDTH, WIDTH, 4), (5, WIDTH, 1, 1)),
    "sequence": (lambda: nn.Conv1d(WIDTH, WIDTH, 5, padding=2), (3, WIDTH, 37)),
    "transposed sequence": (lambda: nn.ConvTranspose1d(WIDTH, 17, 4, 2, 1), (3, WIDTH, 19)),
}


class Critic(nn.Module):
    """Two of a kind side by side; curved, so that every pass runs."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.first, self.second = make(), make()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = nn.functional.silu(self.first(x)) * nn.functional.leaky_relu(self.second(x), 0.2)
        return y.flatten(1).sum(1)


def errors(kind: str, dtype: torch.dtype, accuracy: str | None, last: bool) -> tuple[float, float]:
    make, shape = KINDS[kind]
    torch.manual_seed(3)
    network, point = Critic(make).to(dtype), torch.randn(shape).to(dtype)
    if last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        point = point.contiguous(memory_format=torch.channels_last)
    return errors_of(network, point, accuracy)


def errors_of(network: nn.Module, point: Tensor, accuracy: str | None) -> tuple[float, float]:
    """Of ours and of double backward by PyTorch's kernels, in the largest gradient's norm."""
    exact = copy.deepcopy(network).double()
    want = by_double_backward(exact, point.double(), "r1", list(exact.parameters()))
    weights = list(network.parameters())
    theirs = by_double_backward(network, point, "r1", weights)
    with genfuse.backend("cpu"):
        penalty = genfuse.gradient_penalty(network, point, kind="r1", weight=WEIGHT, accuracy=accuracy)  # type: ignore[arg-type]
    assert isinstance(penalty, Tensor)
    ours = [
        penalty.detach(),
        *torch.autograd.grad(penalty, weights, allow_unused=True, materialize_grads=True),
    ]
    size = max(float(t.norm()) for t in want[1:])
    off = [
        max(float((a.double() - b).norm()) for a, b in zip(got[1:], want[1:], strict=True))
        for got in (ours, theirs)
    ]
    return off[0] / size, off[1] / size


@pytest.mark.parametrize("last", [False, True], ids=["planar", "channels last"])
@pytest.mark.parametrize("kind", KINDS)
def test_as_near_as_double_backward(kind: str, last: bool) -> None:
    if last and len(KINDS[kind][1]) < 4:
        pytest.skip("a sequence has no such layout")
    for accuracy, growth in (("exact", 1.0), (None, WINOGRAD_GROWTH)):
        ours, theirs = errors(kind, torch.float32, accuracy, last)
        assert ours <= 2 * growth * max(theirs, 2 * UNIT_ROUNDOFF[torch.float32]), accuracy


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision(kind: str, dtype: torch.dtype) -> None:
    ours, theirs = errors(kind, dtype, None, False)
    assert ours <= 2 * max(theirs, 2 * UNIT_ROUNDOFF[dtype])


class Shared(nn.Module):
    """Activations that convolutions and other calls read, in place and not; curved where a norm is."""

    def __init__(self, inplace: bool, norm: bool) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(5))
        self.norm = nn.GroupNorm(4, WIDTH) if norm else nn.Identity()
        self.first, self.second = nn.ReLU(inplace), nn.LeakyReLU(0.2, inplace)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d, e = self.convolutions
        h = self.first(self.norm(a(x)))
        h = self.second(b(h) + c(h)) + h
        sequence = d(self.second(e(h))).flatten(2)
        sequence = nn.functional.conv1d(self.first(sequence * 1.5), self.convolutions[0].weight[:, :, 1])  # type: ignore[index]
        return sequence.flatten(1).sum(1) + h.square().sum((1, 2, 3))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_activations_that_several_read(inplace: bool, norm: bool, form: torch.memory_format) -> None:
    torch.manual_seed(3)
    network, point = Shared(inplace, norm), torch.randn(3, WIDTH, 7, 6).contiguous(memory_format=form)
    ours, theirs = errors_of(network, point, "exact")
    assert ours <= 2 * max(theirs, 2 * UNIT_ROUNDOFF[torch.float32])

"""`bias_act` in a critic: one call forwards, one byte an element kept, one pass for its tangent."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse.ops import bias_act
from genfuse_kernels.bias_act import cpu_impl
from genfuse_kernels.conv_norm_act.spec import UNIT_ROUNDOFF
from penalties.double_backward import Seen, assert_exact, by_double_backward, by_tangents, deviation, samples

SHAPE = (4, 16, 8, 8)


class Layer(nn.Module):
    """A convolution and what ends it; the bias has another gradient than none below a norm."""

    def __init__(self, activation: Any, noise: bool, **options: Any) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bias = nn.Parameter(torch.randn(16) * 0.3)
        self.noise = nn.Parameter(torch.randn(1, 1, 8, 8) * 0.3) if noise else None
        self.options: dict[str, Any] = {"activation": activation, **options}

    def forward(self, x: Tensor) -> Tensor:
        return bias_act(self.convolution(x), self.bias, noise=self.noise, **self.options)


def critic(curved: bool) -> nn.Sequential:
    """Read by a convolution alone, by a norm, and by a linear layer."""
    return nn.Sequential(
        Layer("leaky_relu", noise=True, gain=2**0.5),
        Layer("relu", noise=False, gain=0.7),
        nn.GroupNorm(4, 16) if curved else nn.Identity(),
        Layer("leaky_relu", noise=False, negative_slope=0.1),
        nn.Flatten(),
        nn.Linear(16 * 64, 1),
    )


@pytest.mark.parametrize("curved", [False, True])
def test_exact(curved: bool) -> None:
    assert_exact(critic(curved), "wgan-gp", SHAPE)


@pytest.mark.parametrize("last", [False, True], ids=["planar", "channels last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("curved", [False, True])
def test_on_kernels(curved: bool, dtype: torch.dtype, last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = critic(curved).to(dtype)
    form: Any = torch.channels_last if last else torch.contiguous_format
    real, fake = (each.to(memory_format=form) for each in samples(SHAPE, dtype))
    exact = copy.deepcopy(network).double()
    calls, run = [], cpu_impl.bias_act

    def counted(*given: Any) -> None:
        calls.append(given)
        run(*given)

    monkeypatch.setattr(cpu_impl, "bias_act", counted)
    seen = Seen(network)
    weights = list(network.parameters())
    with genfuse.backend("cpu"):
        got = by_tangents(seen, real, fake, "wgan-gp", weights)
    assert len(calls) == 3  # once a layer, whatever the number of passes
    monkeypatch.undo()
    want = by_double_backward(exact, seen.point.double(), "wgan-gp", list(exact.parameters()))
    theirs = by_double_backward(network, seen.point, "wgan-gp", weights)
    assert deviation(got, want) <= max(2 * deviation(theirs, want), 16 * UNIT_ROUNDOFF[dtype])


@pytest.mark.filterwarnings("ignore:.*reduces over the first axis")
def test_a_bias_that_depends_on_the_samples() -> None:
    """Its tangent is added to the image's; so is that of noise."""

    class Conditional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(16, 16, 1)
            self.of_bias = nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            bias = torch.tanh(self.of_bias(x.mean((0, 2, 3))))
            noise = x.mean(1, keepdim=True)
            h = bias_act(self.layer(x), bias, noise=noise, activation="leaky_relu", gain=1.5)
            constant = bias_act(torch.ones_like(x), bias, activation="relu")
            return (h * constant).flatten(1).sum(1)

    assert_exact(Conditional(), "r1", SHAPE)

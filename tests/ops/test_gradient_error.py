"""A unit's float32 gradients on the CPU kernels, whole, against float64: beside PyTorch's own, and on hard inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.ops import conv_norm_act
from genfuse_kernels.conv_norm_act.spec import UNIT_ROUNDOFF
from ops.cpu_cases import threads

MEASURED = ("batch", "instance", "group", "layer")
PER_PIXEL = ("layer_pixel", "rms_pixel")

CONVOLUTIONS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "3x3": ({"padding": 1}, (24, 32, 3, 3)),
    "1x1": ({}, (24, 32, 1, 1)),
    "strided": ({"stride": 2, "padding": 1}, (24, 32, 4, 4)),
    "dilated": ({"dilation": 2, "padding": 2}, (24, 32, 3, 3)),
    "transposed": ({"transposed": True, "stride": 2, "padding": 1}, (32, 24, 4, 4)),
    "grouped": ({"groups": 2, "padding": 1}, (32, 16, 3, 3)),
    "reflect": ({"padding": 3, "padding_mode": "reflect"}, (8, 32, 7, 7)),
}


def leaves(kernel: tuple[int, ...], scale: float = 1.0, at: float = 0.0, batch: int = 2) -> list[Tensor]:
    """x, weight, norm_weight and norm_bias, float32."""
    x = (torch.randn(batch, 32, 13, 11) + at) * scale
    return [x, torch.randn(kernel) / 17, torch.rand(32) + 0.5, torch.randn(32)]


def gradients(given: list[Tensor], dtype: torch.dtype, backend: Any = None, **options: Any) -> list[Tensor]:
    """Of a weighted output, whose weights are the same everywhere and a sample's own."""
    own = [t.to(dtype, copy=True).requires_grad_() for t in given]
    options = {"num_groups": 4, "activation": "silu", **options}
    with genfuse.backend(backend):
        y = conv_norm_act(own[0], own[1], norm_weight=own[2], norm_bias=own[3], **options)
        assert isinstance(y, Tensor)
        weights = torch.randn(3, *y.shape[1:], generator=torch.Generator().manual_seed(4))
        return list(torch.autograd.grad(y, own, weights[: len(y)].to(dtype)))


def deviation(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want).square().mean().sqrt())


def check_twice(given: list[Tensor], **options: Any) -> None:
    """Root mean square error at most twice PyTorch's; a result that only its last rounding is off by has the least."""
    want = gradients(given, torch.float64, **options)
    ours, theirs = (gradients(given, torch.float32, backend, **options) for backend in ("cpu", "aten"))
    for name, mine, other, exact in zip(
        ("x", "weight", "norm_weight", "norm_bias"), ours, theirs, want, strict=True
    ):
        least = UNIT_ROUNDOFF[torch.float32] * float(exact.square().mean().sqrt())
        assert deviation(mine, exact) <= 2 * max(deviation(other, exact), least), name


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_exact_is_off_by_at_most_twice_what_pytorch_is(kind: str) -> None:
    options, kernel = CONVOLUTIONS[kind]
    norms = ("none", *MEASURED, *PER_PIXEL)
    number = list(CONVOLUTIONS).index(kind)
    for norm in (norms[number], norms[(number + 3) % len(norms)]):
        check_twice(leaves(kernel), norm=norm, accuracy="exact", **options)


@pytest.mark.parametrize("norm", MEASURED)
def test_a_mean_of_a_thousand_deviations(norm: str) -> None:
    for kind in ("3x3", "transposed"):
        options, kernel = CONVOLUTIONS[kind]
        check_twice(leaves(kernel, at=1e3), norm=norm, accuracy="exact", **options)


@pytest.mark.parametrize("norm", ["none", *MEASURED, *PER_PIXEL])
def test_extreme_magnitudes(norm: str) -> None:
    """Of x and of the weights; norms divide by what they measure, small numbers by √eps."""
    options, kernel = CONVOLUTIONS["3x3"]
    for scale in (1e-18, 1e12):
        given = leaves(kernel, scale)
        given[1] = given[1] / scale
        settings = {"norm": norm, "activation": "leaky_relu", **options}
        want, got = (gradients(given, dtype, **settings) for dtype in (torch.float64, torch.float32))
        for mine, exact in zip(got, want, strict=True):
            assert (mine - exact).abs().max() <= 1e-4 * exact.abs().max()


@pytest.mark.parametrize("norm", [*MEASURED, *PER_PIXEL])
def test_bits(norm: str) -> None:
    """From run to run and across thread counts all of them; the input's in any place of a batch."""
    for kind in ("3x3", "strided"):
        options, kernel = CONVOLUTIONS[kind]
        given = leaves(kernel, batch=3)
        want = gradients(given, torch.float32, norm=norm, **options)
        for count in (1, 2, 3):
            with threads(count):
                for _ in range(2):
                    got = gradients(given, torch.float32, norm=norm, **options)
                    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
        if norm != "batch":
            alone = leaves(kernel, batch=1)
            alone[1:], alone[0] = given[1:], given[0][:1]
            (x, *_) = gradients(alone, torch.float32, norm=norm, **options)
            assert torch.equal(x, want[0][:1])

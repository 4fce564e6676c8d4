"""Pixel norm, minibatch standard deviation and layers of equalised learning rate against their definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse import nn


@pytest.mark.parametrize("shape", [(3, 7), (2, 5, 9), (2, 17, 5, 3), (0, 4, 2, 2)])
def test_pixel_norm(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    wide = x.double()
    want = wide * (wide.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    torch.testing.assert_close(nn.PixelNorm()(x).double(), want, rtol=1e-5, atol=1e-6)
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(nn.PixelNorm(), x)
    assert torch.autograd.gradgradcheck(nn.PixelNorm(), x)


def appended(x: Tensor, group: int, parts: int) -> Tensor:
    """Sample by sample, part by part."""
    batch, channels = x.shape[:2]
    apart, size = batch // group, channels // parts
    out = x.new_empty(batch, parts)
    for n in range(batch):
        samples = x[n % apart :: apart]
        for part in range(parts):
            of_part = samples[:, part * size : (part + 1) * size]
            out[n, part] = (of_part.var(0, correction=0) + 1e-8).sqrt().mean()
    return out


@pytest.mark.parametrize(
    ("batch", "group", "parts"), [(8, 4, 1), (6, 3, 2), (3, 4, 1), (6, None, 3), (1, 1, 1)]
)
def test_minibatch_std_dev(batch: int, group: int | None, parts: int) -> None:
    x = torch.randn(batch, 6, 3, 5, dtype=torch.float64)
    layer = nn.MinibatchStdDev(group, parts)
    out = layer(x)
    want = appended(x, min(group or batch, batch), parts)
    assert torch.equal(out[:, :6], x) and out.shape == (batch, 6 + parts, 3, 5)
    torch.testing.assert_close(out[:, 6:], want[:, :, None, None].expand(-1, -1, 3, 5))
    small = x[:, :, :1, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(layer, small)
    assert torch.autograd.gradgradcheck(layer, small)
    assert layer(x.bfloat16()).dtype == torch.bfloat16
    assert layer(x[:0]).shape == (0, 6 + parts, 3, 5)


def test_equal_samples_have_a_finite_gradient() -> None:
    x = torch.ones(4, 2, 3, 3, requires_grad=True)
    nn.MinibatchStdDev()(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_equalised_layers() -> None:
    conv = nn.EqualizedConv2d(6, 4, 3, padding=1, groups=2)
    x = torch.randn(2, 6, 5, 7)
    assert torch.equal(conv.bias, torch.zeros(4)) and 0.7 < float(conv.weight.detach().std()) < 1.3
    torch.nn.init.normal_(conv.bias)
    want = F.conv2d(x, conv.weight / 27**0.5, conv.bias, padding=1, groups=2)
    torch.testing.assert_close(conv(x), want)
    torch.testing.assert_close(conv(x, want), 2 * want)
    linear = nn.EqualizedLinear(9, 3)
    y = torch.randn(5, 9)
    torch.testing.assert_close(linear(y), F.linear(y, linear.weight / 3, linear.bias))
    for layer, rows in ((conv, x), (linear, y)):
        (gradient,) = torch.autograd.grad(layer(rows).square().sum(), layer.weight)
        copy = layer.weight.detach().double().requires_grad_()
        scaled = copy / layer.weight[0].numel() ** 0.5
        bias = layer.bias.double()
        out = (
            F.linear(rows.double(), scaled, bias)
            if layer is linear
            else F.conv2d(rows.double(), scaled, bias, padding=1, groups=2)
        )
        (expected,) = torch.autograd.grad(out.square().sum(), copy)
        torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-4)


def test_blur() -> None:
    x = torch.randn(2, 3, 6, 8)
    torch.testing.assert_close(nn.BlurDownsample((1, 1))(x), F.avg_pool2d(x, 2))
    torch.testing.assert_close(nn.BlurUpsample((1, 1, 1), 3)(x), F.interpolate(x, scale_factor=3))
    bilinear = F.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(nn.BlurUpsample()(x)[..., 1:-1, 1:-1], bilinear[..., 1:-1, 1:-1])
    assert nn.BlurDownsample()(x[..., :5, :7]).shape == (2, 3, 2, 3)
    with pytest.raises(ValueError, match="taps is"):
        nn.BlurUpsample((1,), 2)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="x has 6 samples"):
        nn.MinibatchStdDev(4)(torch.ones(6, 2, 2, 2))
    with pytest.raises(ValueError, match="C a multiple of 2"):
        nn.MinibatchStdDev(num_channels=2)(torch.ones(4, 3, 2, 2))
    with pytest.raises(ValueError, match="group_size is 0"):
        nn.MinibatchStdDev(0)
    with pytest.raises(TypeError, match="x has dtype"):
        nn.PixelNorm()(torch.ones(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="eps is nan"):
        nn.PixelNorm(torch.nan)

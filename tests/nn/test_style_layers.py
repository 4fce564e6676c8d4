"""Modules of style GANs against the formulas of StyleGAN2, written with PyTorch's own functions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import genfuse
from genfuse import nn
from genfuse.ops import philox_normal
from genfuse_kernels.modulated_conv2d import reference
from genfuse_kernels.philox_normal.spec import STREAM_STYLE


def near(found: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)


def test_learning_rate_multiplier() -> None:
    linear = nn.EqualizedLinear(400, 300, lr_multiplier=0.01, bias_init=0.5)
    assert 90 < float(linear.weight.detach().std()) < 110 and torch.equal(
        linear.bias, torch.full((300,), 50.0)
    )
    x = torch.randn(5, 400)
    near(linear(x), F.linear(x, linear.weight * 0.01 / 20, linear.bias * 0.01))
    conv = nn.EqualizedConv2d(4, 6, 3, padding=1, lr_multiplier=2.0, bias_init=1.0)
    y = torch.randn(2, 4, 5, 5)
    near(conv(y), F.conv2d(y, conv.weight * 2 / 6, torch.ones(6), padding=1))
    assert "lr_multiplier=0.01" in repr(linear)
    for value in (0, -1.0, math.inf):
        with pytest.raises(ValueError, match="lr_multiplier is"):
            nn.EqualizedLinear(2, 2, lr_multiplier=value)


def test_modulated_convolution() -> None:
    layer = nn.ModulatedConv2d(6, 8, 3, 5, bias=True, activation="leaky_relu", gain=2.0, clamp=1.5)
    x, w, noise = torch.randn(3, 6, 4, 7), torch.randn(3, 5), torch.randn(3, 1, 4, 7)
    torch.nn.init.normal_(layer.bias)  # type: ignore[arg-type]
    styles = F.linear(w, layer.affine.weight / math.sqrt(5), layer.affine.bias)
    want = reference.modulated_conv2d(x, layer.weight, styles, 1) + noise + layer.bias[:, None, None]  # type: ignore[index]
    near(layer(x, w, noise), (F.leaky_relu(want, 0.2) * 2).clamp(-1.5, 1.5))
    assert torch.equal(layer.affine.bias, torch.ones(6))
    assert nn.ModulatedConv2d(6, 8, 3, 5, up=2)(x, w).shape == (3, 8, 8, 14)
    assert nn.ModulatedConv2d(6, 8, 3, 5, down=2)(x[..., :6], w).shape == (3, 8, 2, 3)


def test_style_block_and_to_rgb() -> None:
    block, to_rgb = nn.StyleBlock(6, 8, 5, noise_stream=4), nn.ToRGB(8, 5)
    with torch.no_grad():
        for layer in (block.first, block.second):
            layer.noise_strength.fill_(0.7)  # type: ignore[union-attr]
            layer.conv.bias.normal_()
        to_rgb.conv.bias.normal_()  # type: ignore[union-attr]
    x, w, seeds = torch.randn(2, 6, 4, 4), torch.randn(2, 2, 5), torch.tensor([3, 9])
    out = block(x, w, seeds)
    h = x
    for number, layer in enumerate((block.first, block.second)):
        noise = philox_normal(seeds, (2, 1, 8, 8), row=4 + number, stream=STREAM_STYLE) * 0.7
        conv = layer.conv
        plain = nn.ModulatedConv2d(h.shape[1], 8, 3, 5, up=conv.up)
        plain.load_state_dict({k: v for k, v in conv.state_dict().items() if k != "bias"})
        h = F.leaky_relu(plain(h, w[:, number]) + noise + conv.bias[:, None, None], 0.2) * math.sqrt(2)
    near(out, h)
    near(block(x[1:], w[1:], seeds[1:]), out[1:])
    picture = torch.randn(2, 3, 4, 4)
    styles = to_rgb.conv.affine(w[:, 0]) / math.sqrt(8)
    of_features = reference.modulated_conv2d(out, to_rgb.conv.weight, styles, 0, False)
    want = of_features + to_rgb.conv.bias[:, None, None] + nn.BlurUpsample()(picture)  # type: ignore[index]
    near(to_rgb(out, w[:, 0], picture), want)
    assert not torch.equal(block(x, w), block(x, w))
    silent = nn.StyleBlock(6, 8, 5, noise=False)
    assert torch.equal(silent(x, w), silent(x, w))
    with pytest.raises(ValueError, match=r"w has shape \(2, 3, 5\)"):
        block(x, torch.randn(2, 3, 5))


def test_compiled_and_optimised() -> None:
    block = nn.StyleLayer(4, 4, 5, up=2)
    x, w, seeds = torch.randn(2, 4, 4, 4), torch.randn(2, 5), torch.tensor([3, 9])
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    near(compiled(x, w, seeds), block(x, w, seeds))
    with torch.no_grad():
        fast = genfuse.optimize(block)
        for given in (w, w + 1, w - 1):
            near(fast(x, given, seeds), block(x, given, seeds))
        block.conv.weight.mul_(torch.rand(4, 4, 3, 3) + 0.5)  # what was made of it is made anew
        fresh = nn.StyleLayer(4, 4, 5, up=2)
        fresh.load_state_dict(block.state_dict())
        near(block(x, w, seeds), fresh(x, w, seeds))


def test_mapping_network() -> None:
    mapping = nn.MappingNetwork(7, 5, num_layers=3, hidden_dim=6, average_decay=0.9)
    z = torch.randn(64, 7)
    h = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    for layer in mapping.layers:
        weight = layer.weight * 0.01 / math.sqrt(layer.weight.shape[1])  # type: ignore[operator]
        h = F.leaky_relu(F.linear(h, weight, layer.bias * 0.01), 0.2) * math.sqrt(2)  # type: ignore[operator]
    w = mapping(z)
    near(w, h)
    near(mapping.average, 0.1 * w.mean(0))
    mapping.eval()
    near(mapping(z, truncation=0.0), mapping.average.expand(64, 5))
    near(mapping(z, truncation=0.5), (w + mapping.average) / 2)
    near(mapping.average, 0.1 * w.mean(0))
    conditional = nn.MappingNetwork(7, 5, cond_dim=3)
    assert conditional(z, torch.randn(64, 3)).shape == (64, 5)
    with pytest.raises(ValueError, match="c is absent, expected it of a mapping network with cond_dim"):
        conditional(z)
    with pytest.raises(ValueError, match="c is given, expected it only"):
        mapping(z, z)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.ModulatedConv2d(2, 2, 2, 2), "kernel_size is 2, expected an odd number"),
        (lambda: nn.ModulatedConv2d(2, 0, 3, 2), "out_channels is 0"),
        (lambda: nn.ModulatedConv2d(2, 2, 3, 2, up=5), "taps is"),
        (lambda: nn.MappingNetwork(2, 2, num_layers=0), "num_layers is 0"),
        (lambda: nn.MappingNetwork(2, 2, average_decay=1.0), "average_decay is 1.0"),
        (lambda: nn.StyleBlock(2, 2, 2, noise_stream=-1), "noise_stream is -1"),
    ],
)
def test_bad_arguments(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


def test_half_precision_and_gradients() -> None:
    block = nn.StyleBlock(6, 8, 5)
    x, w, seeds = torch.randn(2, 6, 4, 4), torch.randn(2, 5), torch.tensor([1, 2])
    with torch.no_grad():
        for layer in (block.first, block.second):
            layer.noise_strength.fill_(0.5)  # type: ignore[union-attr]
    exact = nn.StyleBlock(6, 8, 5).double()
    exact.load_state_dict(block.state_dict())
    out, want = block(x, w, seeds), exact(x.double(), w.double(), seeds)
    near(out.double(), want)
    weights = torch.randn(out.shape)
    (out * weights).sum().backward()
    (want * weights.double()).sum().backward()
    for got, of in zip(block.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(got.grad.double(), of.grad, rtol=1e-3, atol=1e-3)  # type: ignore[union-attr]
    half = block(x.bfloat16(), w.bfloat16(), seeds)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), out, rtol=0.1, atol=0.1)

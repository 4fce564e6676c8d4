"""The regulariser of StyleGAN2's generator, against its own code by double backward."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse
from genfuse.errors import UnsupportedError
from genfuse.ops import philox_normal
from genfuse_kernels.philox_normal.spec import STREAM_PATH
from penalties.critics import perturbed

BATCH, LAYERS, WIDTH, CHANNELS = 3, 4, 6, 5


class Synthesis(nn.Module):
    """Karras et al. 2020: modulated, demodulated convolutions, whose weights depend on w; up-sampling, noise, skips."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, CHANNELS, 4, 4))
        self.weights = nn.ParameterList(torch.randn(CHANNELS, CHANNELS, 3, 3) for _ in range(LAYERS - 1))
        self.styles = nn.ModuleList(nn.Linear(WIDTH, CHANNELS) for _ in range(LAYERS))
        self.noise = nn.ParameterList(torch.randn(()) for _ in range(LAYERS - 1))
        self.to_rgb = nn.Parameter(torch.randn(3, CHANNELS, 1, 1))

    def convolved(self, x: Tensor, weight: Tensor, style: Tensor, is_demodulated: bool) -> Tensor:
        n, _, h, w = x.shape
        kernels = weight[None] * style[:, None, :, None, None]
        if is_demodulated:
            kernels = kernels * (kernels.square().sum([2, 3, 4], keepdim=True) + 1e-8).rsqrt()
        kernels = kernels.reshape(-1, *kernels.shape[2:])
        y = F.conv2d(x.reshape(1, -1, h, w), kernels, padding=weight.shape[-1] // 2, groups=n)
        return y.reshape(n, -1, h, w)

    def forward(self, w: Tensor) -> Tensor:
        by_layer = [w] * LAYERS if w.ndim == 2 else list(w.unbind(1))
        x = self.start.repeat(w.shape[0], 1, 1, 1)
        for number, (weight, strength) in enumerate(zip(self.weights, self.noise, strict=True)):
            if number == 1:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = self.convolved(x, weight, self.styles[number](by_layer[number]) + 1, True)
            x = F.leaky_relu(x + strength * torch.arange(x.shape[-1]).to(x).sin(), 0.2) * math.sqrt(2)
        return self.convolved(x, self.to_rgb, self.styles[-1](by_layer[-1]) + 1, False)


def as_published(
    generator: nn.Module, w: Tensor, mean: Tensor, seed: int, weight: float, decay: float
) -> tuple[Tensor, Tensor, Tensor]:
    """stylegan2-ada-pytorch, training/loss.py: penalty, lengths and the new mean."""
    pictures = generator(w)
    seeds, rows = torch.full((len(w),), seed), torch.arange(len(w))
    noise = philox_normal(seeds, pictures.shape, row=rows, stream=STREAM_PATH, dtype=w.dtype)
    noise = noise / math.sqrt(pictures.shape[2] * pictures.shape[3])
    (gradient,) = torch.autograd.grad((pictures * noise).sum(), w, create_graph=True)
    if w.ndim == 2:
        gradient = gradient[:, None]
    lengths = gradient.square().sum(2).mean(1).sqrt()
    moved = mean.lerp(lengths.mean(), decay)
    return weight * (lengths - moved).square().mean(), lengths.detach(), moved.detach()


@pytest.mark.parametrize("shape", [(BATCH, WIDTH), (BATCH, LAYERS, WIDTH)])
def test_against_double_backward(shape: tuple[int, ...]) -> None:
    """Penalty, lengths, the mean, and the gradients of generator and mapping network."""
    generator = perturbed(Synthesis()).double()
    mapping = nn.Linear(WIDTH, WIDTH).double()
    z = torch.randn(shape, dtype=torch.float64)
    weights = [*generator.parameters(), *mapping.parameters()]
    mean = torch.tensor(0.3, dtype=torch.float64)
    want, want_lengths, want_mean = as_published(generator, mapping(z), mean, 4, 2.5, 0.1)
    exact = torch.autograd.grad(want, weights, allow_unused=True, materialize_grads=True)
    got, lengths = genfuse.path_length_penalty(
        generator, mapping(z), mean, weight=2.5, decay=0.1, seed=4, return_lengths=True
    )
    found = torch.autograd.grad(got, weights, allow_unused=True, materialize_grads=True)
    assert torch.allclose(got, want, rtol=1e-10)
    assert torch.allclose(lengths, want_lengths, rtol=1e-10)
    assert torch.allclose(mean, want_mean, rtol=1e-10)
    size = max(t.norm() for t in exact)
    assert all((a - b).norm() <= 1e-10 * size for a, b in zip(found, exact, strict=True))


class StyleGenerator(nn.Module):
    """Of genfuse's modules: a constant, blocks that double it, pictures that add up."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, CHANNELS, 4, 4))
        self.first = genfuse.nn.StyleBlock(CHANNELS, CHANNELS, WIDTH, up=1, clamp=20.0)
        self.second = genfuse.nn.StyleBlock(CHANNELS, 4, WIDTH, noise_stream=2)
        self.to_rgb = nn.ModuleList((genfuse.nn.ToRGB(CHANNELS, WIDTH), genfuse.nn.ToRGB(4, WIDTH)))

    def forward(self, w: Tensor, seeds: Tensor) -> Tensor:
        first, second = (w, w) if w.ndim == 2 else (w[:, :2], w[:, 2:])
        x = self.first(self.start.expand(w.shape[0], -1, -1, -1), first, seeds)
        picture = self.to_rgb[0](x, w if w.ndim == 2 else w[:, 1])
        x = self.second(x, second, seeds)
        return self.to_rgb[1](x, w if w.ndim == 2 else w[:, 3], picture)  # type: ignore[no-any-return]


@pytest.mark.parametrize("shape", [(BATCH, WIDTH), (BATCH, LAYERS, WIDTH)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_modules_of_style_gans(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Through mapping network and style blocks, exactly in float64; in float32 on our kernels."""
    generator = perturbed(StyleGenerator()).double()
    mapping = perturbed(genfuse.nn.MappingNetwork(WIDTH, WIDTH, num_layers=2, lr_multiplier=0.5)).double()
    z, seeds = torch.randn(shape, dtype=torch.float64), torch.arange(BATCH)
    mean = torch.tensor(0.3, dtype=torch.float64)

    def mapped(z: Tensor) -> Tensor:
        w: Tensor = mapping(z.flatten(0, -2)).reshape(*z.shape[:-1], WIDTH)
        return w

    def weights() -> list[Tensor]:
        return [*generator.parameters(), *mapping.parameters()]

    want, want_lengths, _ = as_published(lambda w: generator(w, seeds), mapped(z), mean, 4, 2.5, 0.1)  # type: ignore[arg-type]
    exact = torch.autograd.grad(want, weights(), allow_unused=True, materialize_grads=True)
    generator, mapping = generator.to(dtype), mapping.to(dtype)
    got, lengths = genfuse.path_length_penalty(
        generator, mapped(z.to(dtype)), mean, weight=2.5, decay=0.1, seed=4, return_lengths=True, seeds=seeds
    )
    found = torch.autograd.grad(got, weights(), allow_unused=True, materialize_grads=True)
    at_most = 1e-10 if dtype == torch.float64 else 1e-4
    assert torch.allclose(got.double(), want, rtol=at_most)
    assert torch.allclose(lengths.double(), want_lengths, rtol=at_most)
    size = max(t.norm() for t in exact)
    assert all((a.double() - b).norm() <= at_most * size for a, b in zip(found, exact, strict=True))


def test_the_mean_follows_the_lengths() -> None:
    generator = perturbed(Synthesis())
    mean = torch.zeros(())
    with torch.no_grad():
        for _ in range(4):
            _, lengths = genfuse.path_length_penalty(
                generator, torch.ones(2, WIDTH), mean, decay=0.4, seed=1, return_lengths=True
            )
    assert torch.allclose(mean, lengths.mean() * (1 - 0.6**4), rtol=1e-5)


def test_an_overflow_leaves_the_mean() -> None:
    """A gradient scaler leaves the step out; a mean that is NaN once would be so in all steps to come."""
    weight = torch.full((WIDTH, 3), 1e38, requires_grad=True)

    def generator(w: Tensor) -> Tensor:
        return (w @ weight * 1e10).reshape(-1, 3, 1, 1)

    for found in (torch.inf, torch.nan):
        mean = torch.tensor(0.7)
        w = torch.ones(2, WIDTH)
        scaled = (lambda w: generator(w)) if found == torch.inf else (lambda w: generator(w) * torch.nan)
        penalty = genfuse.path_length_penalty(scaled, w, mean, seed=1)
        assert isinstance(penalty, Tensor) and not penalty.isfinite()
        assert mean == 0.7


def test_falling_back() -> None:
    class Sinc(Synthesis):
        def forward(self, w: Tensor) -> Tensor:
            return torch.sinc(super().forward(w))

    generator, w = perturbed(Sinc()), torch.randn(2, WIDTH)
    mean = torch.ones(())
    with pytest.raises(UnsupportedError, match=r"generator \(Sinc\) calls torch.sinc"):
        genfuse.path_length_penalty(generator, w, mean)
    assert mean == 1
    penalty = genfuse.path_length_penalty(generator, w, mean, seed=1, fallback="autograd")
    want, _, moved = as_published(generator, w.requires_grad_(), torch.ones(()), 1, 2.0, 0.01)
    assert torch.allclose(penalty, want) and torch.allclose(mean, moved)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"generator": 1}, TypeError, r"generator is int, expected a callable generator\(w, \*\*cond\)"),
        ({"w": torch.zeros(2)}, ValueError, r"w has shape \(2,\), expected \(N, D\) or \(N, L, D\)"),
        ({"w": torch.full((2, 3), math.nan)}, ValueError, r"w is not finite in sample 0"),
        ({"mean": 0.0}, TypeError, r"mean is float, expected a tensor \(\) of one number"),
        (
            {"mean": torch.zeros(1)},
            ValueError,
            r"mean has shape \(1,\) and dtype torch.float32, expected \(\)",
        ),
        (
            {"mean": torch.zeros((), requires_grad=True)},
            ValueError,
            r"mean requires a gradient, expected a buffer",
        ),
        ({"decay": 1.5}, ValueError, r"decay is 1.5, expected a number in \[0, 1\]"),
        ({"weight": -1}, ValueError, r"weight is -1, expected 0 or more"),
        ({"return_lengths": None}, TypeError, r"return_lengths is None, expected True or False"),
    ],
)
def test_bad_arguments(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {
        "generator": Synthesis(),
        "w": torch.randn(2, WIDTH),
        "mean": torch.zeros(()),
        **changed,
    }
    with pytest.raises(error, match=message):
        genfuse.path_length_penalty(given.pop("generator"), given.pop("w"), given.pop("mean"), **given)


def test_what_the_generator_returns() -> None:
    mean = torch.ones(())
    with pytest.raises(ValueError, match=r"what generator returned has shape \(6,\), expected \(2, ...\)"):
        genfuse.path_length_penalty(lambda w: w.sum(0), torch.randn(2, WIDTH), mean)
    assert mean == 1

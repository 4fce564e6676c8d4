"""The gradient of norm, activation and dropout by the CPU kernels against autograd of the float64 reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act import reference, spec
from genfuse_kernels.conv_norm_act.norm_gradient import read_gradient
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, Settings
from ops.cpu_cases import laid_out, threads, untouched_elsewhere
from ops.gradient_cases import GradientCase, Wanted, random_gradient

pytestmark = pytest.mark.usefixtures("isa", "poisoned")

DTYPES = (torch.float32, torch.float32, torch.bfloat16, torch.float16)


def same(a: Any, b: Any) -> bool:
    return all((p is None and q is None) or torch.equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("seed", range(60))
def test_random_gradients(seed: int) -> None:
    case = random_gradient(np.random.default_rng([21, seed]), DTYPES[seed % 4])
    Wanted(case).check(case.run())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_norm_and_activation(norm: Any, activation: Any) -> None:
    rng = np.random.default_rng([22, NORMS.index(norm), ACTIVATIONS.index(activation)])
    case = random_gradient(rng, torch.float32, norm, activation)
    Wanted(case).check(case.run())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives_at_extreme_values(activation: Any) -> None:
    extreme = [0.0, -0.0, 1e-30, -1e-30, 1e-41, -1e-41, 3e38, -3e38, math.inf, -math.inf, math.nan]
    x = torch.cat([torch.linspace(-100, 100, 20001), torch.tensor(extreme)]).reshape(1, 1, 1, -1)
    settings = Settings(activation=activation, negative_slope=0.2)
    got = read_gradient(torch.ones_like(x), x, settings, {}, through_stats=True, needs=("x",)).x
    at = x.double().clamp(-1e4, 1e4).requires_grad_()  # where every derivative has reached its limit
    (want,) = torch.autograd.grad(reference.activated(at, activation, 0.2).sum(), at)
    assert got is not None
    if activation != "none":
        assert torch.equal(got.isnan(), x.isnan())
    there = ~x.isnan()
    assert ((got.double() - want).abs() <= spec.ACTIVATION_GRADIENT_ERROR)[there].all()


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "layer"])
def test_a_large_mean_cancels_nothing(norm: Any) -> None:
    """Mean and variance are numbers that float32 holds, so that nothing but the kernel's own sums can lose digits."""
    rng = np.random.default_rng(23)
    half = torch.from_numpy(rng.integers(1, 64, (2, 8, 6, 7)) / 1024)
    x = 1e4 + torch.cat([half, -half], 3)
    settings = Settings(norm=norm, num_groups=2, eps=1e-12)
    gradient = torch.from_numpy(rng.standard_normal(x.shape)).float()
    stats = torch.stack([x.mean((2, 3)), x.var((2, 3), correction=0)], 2).float()
    tensors = {"stats": stats, "norm_weight": torch.ones(8)}
    got = read_gradient(
        gradient,
        x.float(),
        settings,
        tensors,
        through_stats=True,
        needs=("x", "norm_weight"),  # type: ignore[arg-type]
    )
    leaf, weight = x.clone().requires_grad_(), torch.ones(8, dtype=torch.float64, requires_grad=True)
    h = reference.read(leaf, settings, None, None, {"norm_weight": weight})
    want = torch.autograd.grad(h, (leaf, weight), gradient.double())
    for value, exact in zip((got.x, got.norm_weight), want, strict=True):
        assert value is not None
        assert (value.double() - exact).abs().max() < 1e-6 * exact.abs().max()


@pytest.mark.parametrize("seed", range(12))
def test_bits_depend_on_neither_threads_nor_batch(seed: int) -> None:
    rng = np.random.default_rng([24, seed])
    norm = ("none", "instance", "group", "layer", "layer_pixel", "rms_pixel")[seed % 6]
    case = random_gradient(rng, DTYPES[seed % 4], norm, batch=3)  # type: ignore[arg-type]
    with threads(1):
        alone = case.run()
    with threads(2):
        together = case.run()
    assert same(alone, together)
    of_last = {
        name: t[-1:] if isinstance(t, Tensor) and (t.ndim > 1 or name == "seeds") else t
        for name, t in case.tensors.items()
    }
    last = GradientCase(case.settings, case.gradient[-1:], case.x[-1:], of_last, case.stats_given).run()  # type: ignore[arg-type]
    for name in ("x", "skip", "film_scale", "film_shift", "stats"):
        of_all, of_one = getattr(alone, name), getattr(last, name)
        assert of_all is None or torch.equal(of_all[-1:], of_one)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "batch_strided", "transposed"])
@pytest.mark.parametrize("norm", NORMS)
def test_in_place_of_the_gradient_and_onto_others(norm: Any, layout: str) -> None:
    """The same bits wherever they go, nothing written beside, and the gradient left alone unless told otherwise."""
    for seed in range(3):
        rng = np.random.default_rng([25, NORMS.index(norm), seed])
        case = random_gradient(rng, torch.float32, norm)
        case.gradient = laid_out(case.gradient, layout)
        kept = case.gradient.clone()
        apart = case.run()
        assert torch.equal(case.gradient, kept) and untouched_elsewhere(case.gradient)
        images = {"x": case.x, "skip": case.tensors.get("skip")}
        others = {
            name: laid_out(torch.randn(image.shape), layout)
            for name, image in images.items()
            if image is not None
        }
        before = {name: other.clone() for name, other in others.items()}
        added = case.run(added=others)
        for name, other in others.items():
            assert torch.equal(other, before[name])
            assert torch.equal(getattr(added, name), getattr(apart, name) + other)
        placed = case.run(overwrite=True)
        assert same(placed, apart) and untouched_elsewhere(case.gradient)
        assert placed.x is not None
        assert placed.x.untyped_storage().data_ptr() == case.gradient.untyped_storage().data_ptr()
        case.gradient.copy_(kept)
        assert same(case.run(overwrite=True, added=others), added)


def test_only_what_is_needed() -> None:
    case = random_gradient(np.random.default_rng(26), torch.float32, "group")
    case.tensors["skip"] = None
    case.gradient, case.x = torch.randn(2, 12, 5, 6), torch.randn(2, 12, 5, 6)
    case.settings = case.settings._replace(num_groups=3)
    case.tensors |= {"norm_weight": torch.randn(12), "norm_bias": torch.randn(2, 12), "stats": None}
    case.tensors |= {"film_scale": None, "film_shift": None, "seeds": torch.tensor([1, 2])}
    whole = read_gradient(
        case.gradient,
        case.x,
        case.settings,
        case.tensors,
        through_stats=True,
        needs=("x", "norm_weight", "norm_bias"),
    )
    for name in ("x", "norm_weight", "norm_bias"):
        one = read_gradient(
            case.gradient, case.x, case.settings, case.tensors, through_stats=True, needs=(name,)
        )
        assert [field for field, value in one._asdict().items() if value is not None] == [name]
        assert torch.allclose(getattr(one, name), getattr(whole, name), rtol=1e-5, atol=1e-5)


def test_nothing_is_left_of_an_earlier_call() -> None:
    """Scratch memory full of NaN, in which nobody may read."""
    for norm in NORMS:
        poison = random_gradient(np.random.default_rng(27), torch.float32, norm, "silu")
        poison.gradient = torch.full((4, 64, 30, 30), math.nan)
        poison.x, poison.tensors = poison.gradient, {"seeds": torch.arange(4)}
        poison.settings, poison.stats_given = poison.settings._replace(num_groups=1), False
        poison.run()
        case = random_gradient(np.random.default_rng([27, NORMS.index(norm)]), torch.float32, norm)
        Wanted(case).check(case.run())


def test_empty_batch_and_bad_arguments() -> None:
    x, weight = torch.empty(0, 4, 5, 6), torch.ones(4)
    settings = Settings(norm="group", num_groups=2)
    got = read_gradient(
        x, x, settings, {"norm_weight": weight}, through_stats=True, needs=("x", "norm_weight")
    )
    assert got.x is not None and got.x.shape == x.shape
    assert got.norm_weight is not None and torch.equal(got.norm_weight, torch.zeros(4))
    x = torch.randn(2, 4, 5, 6)
    with pytest.raises(ValueError, match="gradient has 3 channels, expected 4"):
        read_gradient(torch.randn(2, 3, 5, 6), x, Settings(), {}, through_stats=True, needs=("x",))
    with pytest.raises(ValueError, match="num_groups is 3"):
        read_gradient(x, x, settings._replace(num_groups=3), {}, through_stats=True, needs=("x",))
    stats = torch.rand(2, 4, 2)
    with pytest.raises(ValueError, match="stats has a gradient of its own"):
        read_gradient(x, x, settings, {"stats": stats}, through_stats=True, needs=("stats",))

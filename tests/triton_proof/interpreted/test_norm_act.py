"""`norm_stats` and `norm_act` in Triton against their float64 references, with every access checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import genfuse
from genfuse_kernels.common import moments
from genfuse_kernels.conv_norm_act.reference import channel_stats
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, Settings
from genfuse_kernels.norm_act import reference, spec
from genfuse_kernels.norm_act.triton_impl import norm_act
from genfuse_kernels.norm_stats import spec as stats_spec
from genfuse_kernels.norm_stats.triton_impl import norm_stats
from ops.cpu_cases import LAYOUTS, laid_out, untouched_elsewhere
from ops.test_norm_act import check_gradients
from triton_proof import interpreter
from triton_proof.seeds import rotating


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few elements a tile and few tiles a program, so that small images take many of both."""
    monkeypatch.setattr(moments, "TILE", 64)
    monkeypatch.setattr(moments, "SPAN", 128)


def measured(x: Tensor) -> Tensor:
    stats = torch.full((*x.shape[:2], 2), math.nan)
    norm_stats(stats, x)
    return stats


def check_stats(x: Tensor) -> None:
    got, want = measured(x), channel_stats(x.double())
    allowed = stats_spec.tolerance(x.shape[2] * x.shape[3])
    size = want[..., 0].abs() + want[..., 1].sqrt()
    assert ((got[..., 0] - want[..., 0]).abs() <= allowed * size).all()
    assert ((got[..., 1] - want[..., 1]).abs() <= allowed * want[..., 1]).all()


@pytest.mark.parametrize("seed", rotating(4, 30))
def test_statistics(seed: int) -> None:
    rng = np.random.default_rng([7, seed])
    shape = tuple(int(rng.integers(1, high)) for high in (4, 80, 24, 24))
    mean = 1e4 if seed % 2 else 0.5  # far larger than the deviation
    dtype = torch.float32 if seed % 2 else spec.DTYPES[seed // 2 % 3]
    values = torch.from_numpy(rng.standard_normal(shape) + mean).to(dtype)
    check_stats(laid_out(values, LAYOUTS[rng.integers(len(LAYOUTS))]))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("first", [0.0, 1000.0])
def test_statistics_of_a_long_row_are_split_and_merged(
    first: float, channels_last: bool, small_tiles: None
) -> None:
    """Whatever its first pixel is; each sample's bits are its own."""
    x = torch.relu(torch.randn(2, 3, 1, 1029))
    x[..., 0] = first
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    check_stats(x)
    assert torch.equal(measured(x)[1:], measured(x[1:]))


def random_call(seed: int) -> tuple[Tensor, Settings, dict[str, Tensor | None], np.random.Generator]:
    rng = np.random.default_rng([6, seed])
    dtype = spec.DTYPES[seed % 3]
    n, c, h, w = (int(rng.integers(1, high)) for high in (4, 40, 20, 20))
    settings = Settings(
        norm=NORMS[seed % len(NORMS)],
        num_groups=int(rng.choice([g for g in range(1, c + 1) if c % g == 0])),
        eps=1e-3,
        activation=ACTIVATIONS[seed // 2 % len(ACTIVATIONS)],
        negative_slope=0.2,
        scale=float(rng.choice([1.0, 0.5])),
        out_activation=ACTIVATIONS[rng.integers(len(ACTIVATIONS))],
        dropout=0.3 if rng.random() < 0.4 else 0.0,
        dropout_stream=int(rng.integers(2**32)),
        pool=((2, 2), (1, 2), (2, 1))[rng.integers(3)] if min(h, w) > 1 and rng.random() < 0.4 else (1, 1),
    )

    def image() -> Tensor:
        values = torch.from_numpy(rng.standard_normal((n, c, h, w)) + 0.5).to(dtype)
        return laid_out(values, LAYOUTS[rng.integers(len(LAYOUTS))])

    def maybe(*shape: int) -> Tensor | None:
        of = torch.float32 if rng.random() < 0.5 else dtype
        return torch.from_numpy(rng.standard_normal(shape)).to(of) if rng.random() < 0.6 else None

    film, running = rng.random() < 0.3, settings.norm == "batch" and rng.random() < 0.5
    tensors = {
        "norm_weight": maybe(c),
        "norm_bias": maybe(n, c),
        "running_mean": torch.from_numpy(rng.standard_normal(c)).float() if running else None,
        "running_var": torch.from_numpy(rng.random(c) + 0.5).float() if running else None,
        "film_scale": torch.from_numpy(rng.standard_normal((n, c))).to(dtype) if film else None,
        "film_shift": torch.from_numpy(rng.standard_normal((n, c))).to(dtype) if film else None,
        "residual": image() if seed % 2 else None,
        "seeds": torch.from_numpy(rng.integers(-(2**63), 2**63 - 1, n)),
    }
    return image(), settings, tensors, rng


@pytest.mark.parametrize("seed", rotating(9, 126))
def test_random_calls(seed: int, request: pytest.FixtureRequest) -> None:
    if seed % 5 == 0:
        request.getfixturevalue("small_tiles")
    x, s, tensors, rng = random_call(seed)
    wide = {name: t if t is None or not t.is_floating_point() else t.double() for name, t in tensors.items()}
    want = reference.norm_act(x.double(), s, **wide)
    out = laid_out(torch.full(want.shape, math.nan, dtype=x.dtype), LAYOUTS[rng.integers(len(LAYOUTS))])
    stats = torch.full((*x.shape[:2], 2), math.nan)
    norm_act(out, stats, x, s, **tensors)
    assert untouched_elsewhere(out)
    # x minus a mean, times a weight: each a rounding of numbers larger than the result may be
    plain = wide | {"residual": None, "running_mean": None, "running_var": None}
    deviation = 1.0 if s.norm == "none" else s.eps**-0.5
    size = reference.norm_act(x.double().abs() + 1, Settings(), **plain).abs() + x.double().abs() + 2
    size = (
        size
        * deviation
        * (1 + (0 if wide["film_scale"] is None else wide["film_scale"].abs()[..., None, None]))
    )
    size = size + (0 if wide["residual"] is None else wide["residual"].abs())
    size = torch.nn.functional.avg_pool2d(size, s.pool)
    store = 0.0 if x.dtype == torch.float32 else spec.tolerance(x.dtype, 1)
    allowed = spec.tolerance(torch.float32, x.shape[1]) * size + store * want.abs()
    assert ((out.double() - want).abs() <= allowed).all()
    assert torch.allclose(stats.double(), channel_stats(want), rtol=1e-3, atol=1e-3)


def test_a_samples_bits_are_its_own_and_repeat() -> None:
    x = torch.randn(3, 24, 9, 7)
    s = Settings(norm="group", num_groups=3, activation="silu", dropout=0.3)

    def run(samples: slice) -> Tensor:
        out = torch.empty_like(x[samples])
        norm_act(out, None, x[samples], s, seeds=torch.arange(3)[samples])
        return out

    whole = run(slice(None))
    assert torch.equal(whole, run(slice(None))) and torch.equal(whole[1:2], run(slice(1, 2)))


@pytest.mark.parametrize("seed", rotating(3, 40))
def test_gradients_of_random_calls(seed: int) -> None:
    """As autograd has them, by Triton's backward."""
    check_gradients(seed, "triton")


def test_a_samples_gradients_are_its_own_and_repeat() -> None:
    x, direction = torch.randn(3, 24, 9, 7), torch.randn(3, 24, 9, 7)

    def run(samples: slice) -> Tensor:
        leaf = x[samples].clone().requires_grad_()
        with genfuse.backend("triton"):
            y: Any = genfuse.ops.norm_act(leaf, norm="group", num_groups=3, activation="silu", scale=0.5)
            return torch.autograd.grad(y, leaf, direction[samples])[0]

    whole = run(slice(None))
    assert torch.equal(whole, run(slice(None))) and torch.equal(whole[1:2], run(slice(1, 2)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_extreme_values(activation: str) -> None:
    """NaN stays NaN, no finite value becomes it, and no infinity a number that PyTorch's isn't."""
    finite = [0.0, -0.0, 1e-30, -1e-41, 90.0, -90.0, 3e38, -3e38]
    x = torch.tensor([*finite, math.inf, -math.inf, math.nan]).reshape(1, 1, 1, -1)
    s = Settings(activation=activation, negative_slope=0.2)  # type: ignore[arg-type]
    got = torch.full_like(x, 7.0)
    norm_act(got, None, x, s)
    want = reference.norm_act(x.double(), s).float()
    count = len(finite)
    assert torch.allclose(got[..., :count], want[..., :count], rtol=1e-6, atol=4e-7)
    assert (got[..., count:].isfinite() <= want[..., count:].isfinite()).all() and got[..., -1].isnan()


@pytest.mark.parametrize("norm", ["group", "instance", "layer_pixel", "rms_pixel"])
def test_squares_beyond_float32_are_not_handed_on_as_zeros(norm: str) -> None:
    x = torch.randn(1, 4, 8, 8) * 1e30
    out = torch.zeros_like(x)
    norm_act(out, None, x, Settings(norm=norm))  # type: ignore[arg-type]
    assert not out.isfinite().any()


def test_each_image_is_read_once_and_once_more_for_statistics() -> None:
    x, residual = torch.randn(2, 8, 6, 6), torch.randn(2, 8, 6, 6)
    out = torch.empty_like(x)
    with interpreter.record() as traffic:
        norm_act(out, None, x, Settings(norm="instance", activation="relu"), residual=residual)
    nbytes = x.numel() * 4
    assert traffic.loaded[x.data_ptr()] == 2 * nbytes
    assert traffic.loaded[residual.data_ptr()] == traffic.stored[out.data_ptr()] == nbytes


def test_the_ops_take_them_where_asked() -> None:
    x = torch.randn(2, 6, 5, 7)
    with genfuse.backend("triton"):
        assert genfuse.explain("norm_act", x).backend == genfuse.explain("norm_stats", x).backend == "triton"
        y, stats = genfuse.ops.norm_act(x, norm="group", num_groups=2, activation="silu", return_stats=True)
        assert torch.allclose(genfuse.ops.norm_stats(y), stats, atol=1e-5)
        assert genfuse.ops.norm_act(x[:0], norm="batch").shape == (0, 6, 5, 7)
        assert genfuse.ops.norm_stats(x[:0]).shape == (0, 6, 2)
    with genfuse.backend("aten"), torch.no_grad():
        want = genfuse.ops.norm_act(x, norm="group", num_groups=2, activation="silu")
    assert torch.allclose(y, want, atol=1e-5)

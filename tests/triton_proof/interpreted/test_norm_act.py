"""`norm_stats` and `norm_act` in Triton against their float64 references, with every access checked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.lab import interpreter
from genfuse_kernels.common import layout, moments
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, Activation, Settings
from genfuse_kernels.norm_act.triton_impl import norm_act
from genfuse_kernels.norm_stats.triton_impl import norm_stats
from ops.norm_cases import (
    check_call,
    check_extremes,
    check_stats,
    long_row,
    measured,
    random_call,
    random_image,
)
from ops.test_norm_act import check_gradients
from triton_proof.seeds import rotating


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few elements a tile and few tiles a program, so that small images take many of both."""
    monkeypatch.setattr(moments, "TILE", 64)
    monkeypatch.setattr(moments, "SPAN", 128)


@pytest.mark.parametrize("seed", rotating(4, 30))
def test_statistics(seed: int) -> None:
    check_stats(norm_stats, random_image(seed))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("first", [0.0, 1000.0])
def test_statistics_of_a_long_row_are_split_and_merged(
    first: float, channels_last: bool, small_tiles: None
) -> None:
    """Whatever its first pixel is; each sample's bits are its own."""
    x = long_row(first, channels_last)
    check_stats(norm_stats, x)
    assert torch.equal(measured(norm_stats, x)[1:], measured(norm_stats, x[1:]))


@pytest.mark.parametrize("seed", rotating(5, 126))
def test_random_calls(seed: int, request: pytest.FixtureRequest) -> None:
    if seed % 5 == 0:
        request.getfixturevalue("small_tiles")
    check_call(norm_act, *random_call(seed))


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
def test_extreme_values(activation: Activation) -> None:
    check_extremes(norm_act, activation)


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


def test_one_picture_keeps_a_gpu_busy() -> None:
    """In channels last, whose tiles have many channels: where no statistics have to be merged."""
    x = torch.randn(1, 64, 32, 64).to(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    with interpreter.record() as traffic:
        norm_act(out, None, x, Settings(activation="relu"))
    (launch,) = traffic.each
    assert launch.programs == 64 and torch.equal(out, x.relu())


def test_offsets_of_64_bits_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sample of 2^31 elements gets, in the op and its gradient."""
    x = torch.randn(2, 12, 7, 8).to(memory_format=torch.channels_last)

    def run() -> tuple[Tensor, Tensor]:
        leaf = x.clone().requires_grad_()
        with genfuse.backend("triton"):
            y: Any = genfuse.ops.norm_act(leaf, norm="group", num_groups=3, activation="silu")
            return y.detach(), torch.autograd.grad(y.square().sum(), leaf)[0]

    narrow = run()
    monkeypatch.setattr(layout, "INT32_LIMIT", 0)
    for got, want in zip(run(), narrow, strict=True):
        assert torch.equal(got, want)

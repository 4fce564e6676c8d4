"""The CPU kernels of `conv_norm_act` against the float64 reference."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act import reference, spec
from genfuse_kernels.conv_norm_act.cpu_impl import conv_norm_act
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, Settings
from ops.conv_cases import Case, allowed_error, make_case, random_case, uses_winograd
from ops.cpu_cases import ISAS, instruction_set, laid_out, threads, untouched_elsewhere


@pytest.fixture(params=ISAS, autouse=True)
def isa(request: pytest.FixtureRequest) -> Any:
    with instruction_set(request.param):
        yield request.param


def run(case: Case, like: Tensor, layout: str = "contiguous") -> tuple[Tensor, Tensor]:
    """The kernel's output and statistics, in memory that was NaN before."""
    out = laid_out(torch.full(like.shape, math.nan, dtype=case.x.dtype), layout)
    stats = torch.full((*like.shape[:2], 2), math.nan)
    conv_norm_act(out, stats, case.x, case.weight, case.bias, case.settings, **case.tensors)
    assert untouched_elsewhere(out)
    return out, stats


def check(case: Case, layout: str = "contiguous") -> None:
    want = case.double().reference()
    got, stats = run(case, want, layout)
    store = 0.0 if case.x.dtype == torch.float32 else spec.UNIT_ROUNDOFF[case.x.dtype]
    tiny = torch.finfo(case.x.dtype).tiny  # below it numbers are equally spaced
    allowed = allowed_error(case) + store * want.abs().clamp(min=tiny)
    error = (got.double() - want).abs()
    assert (error <= allowed).all(), (
        f"{(error / allowed).nan_to_num().max():.2f} times the error; {case.settings}"
    )
    expected = reference.channel_stats(want)
    spread = (want.abs().amax((2, 3)) + allowed.amax((2, 3))) * 2e-6 + allowed.amax((2, 3))
    assert ((stats[..., 0] - expected[..., 0]).abs() <= spread).all()
    assert ((stats[..., 1] - expected[..., 1]).abs() <= 3 * spread * (1 + want.abs().amax((2, 3)))).all()


@pytest.mark.parametrize("seed", range(60))
def test_random_units(seed: int) -> None:
    rng = np.random.default_rng([4, seed])
    dtype = (torch.float32, torch.float32, torch.bfloat16, torch.float16)[seed % 4]
    check(random_case(rng, dtype), ("contiguous", "channels_last", "batch_strided")[seed % 3])


@pytest.mark.parametrize("transposed", [False, True])
def test_every_tail_of_a_tile(transposed: bool) -> None:
    rng = np.random.default_rng(7)
    settings = (
        Settings(padding=(1, 1), stride=(2, 2), transposed=True) if transposed else Settings(padding=(1, 1))
    )
    for height in range(1, 21):
        size = (height, 21 - height)
        shape = (5, 7, 4, 4) if transposed else (7, 5, 3, 3)
        case = make_case(rng, torch.float32, settings, 2, 5, shape, size)
        assert uses_winograd(case)
        check(case)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_at_extreme_values(activation: Any) -> None:
    """A 1x1 kernel of one weight shows the activation itself."""
    x = torch.cat(
        [torch.linspace(-100, 100, 4001), torch.tensor([0.0, -0.0, 1e-30, -1e-30, 3e38, -3e38, 1e-41])]
    )
    x = x.reshape(1, 1, 1, -1)
    settings = Settings(activation=activation, negative_slope=0.2)
    got, _ = run(Case(settings, x, torch.ones(1, 1, 1, 1), None, {}), x)
    want = reference.activated(x.double(), activation, 0.2)
    assert ((got.double() - want).abs() <= 4e-7 * want.abs().clamp(min=1) + 2.0**-126).all()


def test_non_finite_where_pytorch_is() -> None:
    x = torch.randn(1, 3, 9, 9)
    x[0, 1, 4, 4] = math.nan
    x[0, 2, 0, 0] = math.inf
    weight = torch.randn(4, 3, 3, 3)
    for accuracy in ("exact", "fast"):
        settings = Settings(padding=(1, 1), accuracy=accuracy)  # type: ignore[arg-type]
        case = Case(settings, x, weight, None, {})
        want = case.reference()
        got, _ = run(case, want)
        assert (~got.isfinite())[~want.isfinite()].all()
        if accuracy == "exact":
            assert torch.equal(got.isfinite(), want.isfinite())


def test_no_statistics_from_rows_that_do_not_exist() -> None:
    """Scratch memory full of NaN; a transposed convolution's last tiles have rows of some phases only."""
    settings = Settings(padding=(1, 1), stride=(2, 2), transposed=True)
    poison = Case(settings, torch.full((2, 16, 16, 16), math.nan), torch.randn(16, 24, 4, 4), None, {})
    run(poison, poison.reference())
    for kernel, height in ((4, 5), (3, 5), (3, 1), (4, 1)):
        case = Case(settings, torch.randn(1, 16, height, 5), torch.randn(16, 24, kernel, kernel), None, {})
        want = case.double().reference()
        _, stats = run(case, want)
        assert torch.allclose(stats.double(), reference.channel_stats(want), rtol=1e-3, atol=1e-3)
    for height in (5, 6, 9):
        case = Case(
            Settings(padding=(1, 1), pool=2),
            torch.randn(1, 16, height, 5),
            torch.randn(24, 16, 3, 3),
            None,
            {},
        )
        want = case.double().reference()
        _, stats = run(case, want)
        assert torch.allclose(stats.double(), reference.channel_stats(want), rtol=1e-3, atol=1e-3)


def test_a_large_mean_over_a_small_variance() -> None:
    """Statistics must not cancel: four roundings of numbers as large as the mean are allowed.

    They are the mean's own, its product's with the scale, x's product's (where there is no FMA), and one of the sum
    that the mean came from.
    """
    rng = np.random.default_rng(3)
    x = torch.from_numpy(1e4 + 1e-2 * rng.standard_normal((2, 8, 24, 24))).float()
    axes = {"instance": (2, 3), "layer": (1, 2, 3), "batch": (0, 2, 3), "layer_pixel": (1,)}
    for norm, over in axes.items():
        settings = Settings(norm=norm, eps=1e-12)  # type: ignore[arg-type]
        weight = torch.eye(8)[:, :, None, None].contiguous()
        case = Case(settings, x, weight, None, {})
        want = case.double().reference()
        got, _ = run(case, want)
        deviation = x.double().std(over, correction=0, keepdim=True)
        assert ((got.double() - want).abs() * deviation).max() < 4 * 2.0**-24 * 1e4, norm


@pytest.mark.parametrize("kind", ["3x3", "transposed", "any"])
def test_bits_depend_on_neither_threads_nor_batch(kind: str) -> None:
    for seed in range(4):
        rng = np.random.default_rng([5, seed])
        case = random_case(rng, torch.float32, (kind,))
        settings = case.settings
        if settings.norm == "batch" and case.tensors["running_mean"] is None:
            settings = settings._replace(norm="instance")
        case = dataclasses.replace(case, settings=settings)
        like = case.double().reference()
        with threads(1):
            alone, stats = run(case, like)
        with threads(2):
            together, stats_together = run(case, like)
        assert torch.equal(alone, together) and torch.equal(stats, stats_together)
        of_last = {
            name: tensor[-1:]
            if tensor is not None and tensor.shape[0] == like.shape[0] and tensor.ndim > 1
            else tensor
            for name, tensor in case.tensors.items()
        }
        last = Case(settings, case.x[-1:], case.weight, case.bias, of_last)
        assert torch.equal(run(last, like[-1:])[0], alone[-1:])


def test_statistics_given_are_those_computed() -> None:
    rng = np.random.default_rng(9)
    settings = Settings(norm="group", num_groups=4, activation="silu", padding=(1, 1))
    case = make_case(rng, torch.float32, settings, 2, 16, (8, 16, 3, 3), (12, 11))
    case.tensors["skip"] = None
    case.x = torch.randn(2, 16, 12, 11)
    want, _ = run(case, case.double().reference())
    case.tensors["stats"] = reference.channel_stats(case.x.double()).float()
    got, _ = run(case, want)
    assert (got - want).abs().max() <= allowed_error(case).max()


def test_the_default_accuracy_is_fast_in_float32_alone() -> None:
    rng = np.random.default_rng(10)
    for dtype in spec.DTYPES:
        runs = {}
        case = make_case(rng, dtype, Settings(padding=(1, 1)), 1, 16, (16, 16, 3, 3), (12, 12))
        for accuracy in (None, "exact", "fast"):
            case.settings = case.settings._replace(accuracy=accuracy)  # type: ignore[arg-type]
            runs[accuracy] = run(case, case.double().reference())[0]
            assert uses_winograd(case) == (
                accuracy == "fast" or (accuracy is None and dtype == torch.float32)
            )
        assert torch.equal(runs[None], runs["fast" if dtype == torch.float32 else "exact"])


def test_a_changed_weight_is_noticed() -> None:
    x, weight = torch.randn(1, 4, 8, 8), torch.nn.Parameter(torch.randn(6, 4, 3, 3))
    settings = Settings(padding=(1, 1))

    def output() -> Tensor:
        return run(Case(settings, x, weight.detach(), None, {}), torch.empty(1, 6, 8, 8))[0]

    for change in (
        lambda: weight.data.mul_(2),
        lambda: weight.data.clamp_(-0.1, 0.1),
        lambda: weight.detach().neg_(),
    ):
        change()
        want = torch.nn.functional.conv2d(x, weight.detach(), padding=1)
        assert (output() - want).abs().max() < 1e-4


def test_empty_batch() -> None:
    case = Case(
        Settings(padding=(1, 1), norm="instance"), torch.empty(0, 3, 5, 5), torch.randn(2, 3, 3, 3), None, {}
    )
    assert run(case, torch.empty(0, 2, 5, 5))[0].shape == (0, 2, 5, 5)

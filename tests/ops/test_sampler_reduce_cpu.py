"""The CPU kernel of `sampler_reduce` against the float64 reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse_kernels.sampler_reduce import reference, spec
from genfuse_kernels.sampler_reduce.cpu_impl import sampler_reduce
from ops.cpu_cases import DTYPES, LAYOUTS, laid_out, row, threads

pytestmark = pytest.mark.usefixtures("isa")


def reduced(x: Tensor, m: Tensor, table: Tensor, index: int | Tensor, uncond: Tensor | None) -> Tensor:
    compute = x.dtype if x.dtype == torch.float64 else torch.float32
    scales = torch.full((x.shape[0], 2), math.nan, dtype=compute)
    sampler_reduce(scales, x, m, table, index, uncond=uncond)
    return scales


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(8))
def test_random_cases(dtype: torch.dtype, seed: int) -> None:
    rng = np.random.default_rng([seed, DTYPES.index(dtype)])
    shape = ((3, 3, 33, 35), (2, 5), (2, 4, 40, 41), (1, 2), (2, 3, 5, 7, 9), (0, 4), (3, 1), (1, 3, 64, 64))[
        seed
    ]
    x, m, u = (
        laid_out(torch.from_numpy(rng.standard_normal(shape)).to(dtype), LAYOUTS[rng.integers(len(LAYOUTS))])
        for _ in range(3)
    )
    common = {"x0_x": 2.0, "x0_m": -1.5, "guidance": 5.0, "threshold_max": 100.0}
    table = torch.cat(
        [
            row(**common, rescale=0.7, quantile=0.995),
            row(**common, quantile=0.5),
            row(**common, rescale=1.0),
            row(x0_x=1.0, quantile=1.0, threshold_max=1.5),
        ]
    )
    for uncond in (u, None):
        for index in (0, 1, 3, torch.from_numpy(rng.integers(0, 4, shape[0]))):
            got = reduced(x, m, table, index, uncond)
            wide = None if uncond is None else uncond.double()
            want = reference.sampler_reduce(x.double(), m.double(), table, index, uncond=wide)
            # The threshold's own terms cancel: its error is relative to their sum.
            size = torch.stack([want[:, 0], want[:, 1].clamp_min(8.0)], 1)
            error = spec.tolerance(dtype, math.prod(shape[1:])) * size
            assert ((got.double() - want).abs() <= error)[want.isfinite()].all()
            assert torch.equal(got.isinf(), want.isinf())


def test_quantile_is_the_sorted_one_exactly() -> None:
    """x0 = x needs no arithmetic: the order statistics are the sort's, ties and all."""
    rng = np.random.default_rng(3)
    for numel in (1, 2, 3, 100, 4097, 70001):
        for dtype in (torch.float32, torch.float64):
            values = torch.from_numpy(rng.standard_normal((2, numel)) * 10 + 5).to(dtype).round(decimals=2)
            for quantile in (1.0, 0.25, 0.9):
                table = row(x0_x=1.0, quantile=quantile, threshold_max=1e9)
                got = reduced(values, values, table, 0, None)[:, 1]
                want = torch.from_numpy(
                    np.quantile(values.abs().double().numpy(), quantile, axis=1)
                ).clamp_min(1)
                assert torch.allclose(got.double(), want, rtol=4 * torch.finfo(dtype).eps, atol=0)


def test_bits_do_not_depend_on_threads_or_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    x, m, u = (torch.randn(4, 3, 65, 67, generator=generator) for _ in range(3))
    table = row(x0_x=1.2, x0_m=-0.5, guidance=4.0, rescale=0.5, quantile=0.99, threshold_max=10.0)
    with threads(1):
        one = reduced(x, m, table, 0, u)
    with threads(2):
        two = reduced(x, m, table, 0, u)
    assert torch.equal(one, two)
    assert torch.equal(one[2:3], reduced(x[2:3], m[2:3], table, 0, u[2:3]))


def test_constant_output_gives_factor_one() -> None:
    x, m = torch.randn(2, 3, 4), torch.ones(2, 3, 4)
    assert (reduced(x, m, row(rescale=0.7, guidance=3.0), 0, m)[:, 0] == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_nan_makes_its_samples_threshold_nan_as_in_torch_quantile(
    dtype: torch.dtype, sign: float
) -> None:
    x = torch.randn(3, 5000, dtype=dtype, generator=torch.Generator().manual_seed(0))
    x[1, 4321] = math.copysign(math.nan, sign)
    for quantile in (0.01, 0.9, 1.0):
        got = reduced(x, x, row(x0_x=1.0, quantile=quantile, threshold_max=9.0), 0, None)[:, 1]
        want = torch.quantile(x.abs(), quantile, dim=1).clamp(1, 9)
        torch.testing.assert_close(got, want, equal_nan=True)
        assert got.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("quantile", [0.1, 0.25, 0.5, 0.75, 0.9, 1.0])
def test_infinity_is_nan_where_torch_quantile_interpolates_it(dtype: torch.dtype, quantile: float) -> None:
    inf = math.inf
    x = torch.tensor([[1, 2, 3, 5, 4], [1, 2, 3, inf, 4], [1, inf, inf, inf, -inf]], dtype=dtype)
    table = row(x0_x=1.0, quantile=quantile, threshold_max=9.0)
    want = torch.quantile(x.abs(), quantile, dim=1).clamp(1, 9)
    torch.testing.assert_close(reduced(x, x, table, 0, None)[:, 1], want, equal_nan=True)
    from_reference = reference.sampler_reduce(x, x, table, 0)[:, 1]
    torch.testing.assert_close(from_reference, want, equal_nan=True)


def test_nan_comes_through_the_factor() -> None:
    x = torch.randn(1, 100)
    x[0, :60] = math.nan
    assert reduced(x, x, row(rescale=0.5, guidance=2.0), 0, x)[0, 0].isnan()


@pytest.mark.parametrize(
    ("columns", "index", "words"),
    [
        ({}, 1, "index is 1"),
        ({"quantile": 1.5}, 0, "quantile = 1.5"),
        ({"x0_x": math.nan}, 0, "expected a finite"),
    ],
)
def test_bad_calls_write_nothing(columns: dict[str, float], index: int, words: str) -> None:
    x = torch.ones(2, 3)
    scales = torch.full((2, 2), 7.0)
    with pytest.raises(ValueError, match=words):
        sampler_reduce(scales, x, x, row(**columns), index)
    assert (scales == 7).all()

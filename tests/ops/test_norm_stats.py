"""`norm_stats` against the float64 reference, on every instruction set, and as its users call it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import genfuse
from genfuse.ops import conv_norm_act, norm_act, norm_stats
from genfuse_kernels.norm_stats import cpu_impl, reference, spec
from ops.cpu_cases import ISAS, LAYOUTS, instruction_set, laid_out, threads


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("seed", range(30))
def test_random_cases(isa: str, seed: int) -> None:
    rng = np.random.default_rng([7, seed])
    dtype = spec.DTYPES[seed % 3]
    shape = tuple(int(rng.integers(1, high)) for high in (4, 40, 24, 24))
    mean = 1e4 if dtype == torch.float32 and seed % 2 else 0.5  # far larger than the deviation
    values = torch.from_numpy(rng.standard_normal(shape) + mean).to(dtype)
    x = laid_out(values, LAYOUTS[rng.integers(len(LAYOUTS))])
    stats = torch.full((*shape[:2], 2), math.nan)
    with instruction_set(isa):
        cpu_impl.norm_stats(stats, x)
    want = reference.norm_stats(x.double())
    allowed = spec.tolerance(shape[2] * shape[3])
    deviation = want[..., 1].sqrt()
    assert ((stats[..., 0] - want[..., 0]).abs() <= allowed * (want[..., 0].abs() + deviation)).all()
    assert ((stats[..., 1] - want[..., 1]).abs() <= allowed * want[..., 1]).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("first", [0.0, 30.0, 1000.0])
@pytest.mark.parametrize("length", [63, 64, 129, 1000, 2**16 + 5])
def test_long_rows_and_a_first_pixel_far_off(isa: str, first: float, length: int) -> None:
    """A row is no chain of roundings, and no single pixel is what all others are taken about."""
    x = torch.relu(torch.randn(1, 3, 1, length))
    x[..., 0] = first
    with instruction_set(isa):
        stats = norm_stats(x)
        weight = torch.randn(20, 3, 1, 3)
        units = [conv_norm_act(x, weight[:k], padding=(0, 1), return_stats=True) for k in (1, 4, 20)]
    for y, of_y in ((x, stats), *units):
        want = norm_stats(y.double())
        size = want[..., 1].sqrt() + want[..., 0].abs()
        assert ((of_y[..., 0] - want[..., 0]).abs() <= spec.tolerance(length) * size).all()
        assert ((of_y[..., 1] - want[..., 1]).abs() <= spec.tolerance(length) * want[..., 1]).all()


def test_it_saves_the_units_their_pass() -> None:
    x, weight = torch.randn(2, 24, 9, 11), torch.randn(8, 24, 3, 3)
    options: dict[str, Any] = {"norm": "group", "num_groups": 3, "activation": "silu"}
    stats = norm_stats(x)
    given, own = conv_norm_act(x, weight, stats=stats, **options), conv_norm_act(x, weight, **options)
    assert isinstance(given, torch.Tensor) and isinstance(own, torch.Tensor) and torch.equal(given, own)
    y, of_y = norm_act(x, stats=stats, return_stats=True, **options)
    assert torch.allclose(norm_stats(y), of_y, rtol=1e-5, atol=1e-6)


def test_bits_do_not_depend_on_threads_batch_or_layout() -> None:
    x = torch.randn(3, 24, 33, 17)
    with threads(1):
        one = norm_stats(x)
    with threads(2):
        assert torch.equal(norm_stats(x), one)
    assert torch.equal(norm_stats(x[1:2]), one[1:2])
    assert torch.equal(norm_stats(x.to(memory_format=torch.channels_last)), one)


def test_gradients_compile_and_backends() -> None:
    x = torch.randn(2, 8, 5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm_stats, x)
    x = x.detach().float()
    want = reference.norm_stats(x.double())
    for name in ("cpu", "aten", "reference"):
        with genfuse.backend(name):  # type: ignore[arg-type]
            assert genfuse.explain("norm_stats", x).backend == name
            assert torch.allclose(norm_stats(x).double(), want, rtol=1e-5, atol=1e-6)
    assert torch.equal(torch.compile(norm_stats, fullgraph=True)(x), norm_stats(x))
    torch.library.opcheck(torch.ops.genfuse.norm_stats.default, (x,))
    torch.library.opcheck(torch.ops.genfuse.norm_stats.default, (x.requires_grad_(),))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="x has shape"):
        norm_stats(torch.randn(3, 4))
    with pytest.raises(ValueError, match="x has shape"):
        norm_stats(torch.randn(2, 3, 0, 5))
    with pytest.raises(TypeError, match="x has dtype"):
        norm_stats(torch.ones(1, 1, 2, 2, dtype=torch.int32))
    assert norm_stats(torch.randn(0, 3, 2, 2)).shape == (0, 3, 2)


def test_non_finite_values_show() -> None:
    x = torch.randn(1, 2, 4, 4)
    x[0, 0, 2, 1] = math.inf
    stats = norm_stats(x)
    assert not stats[0, 0].isfinite().any() and stats[0, 1].isfinite().all()

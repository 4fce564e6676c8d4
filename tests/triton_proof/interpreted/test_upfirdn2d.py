"""`upfirdn2d` in Triton against the definition, and its gradients through the op."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import genfuse
from genfuse.ops import upfirdn2d
from genfuse_kernels.upfirdn2d import reference
from ops.cpu_cases import DTYPES, LAYOUTS
from ops.upfirdn2d_cases import defined, hold
from triton_proof.seeds import rotating


@pytest.fixture(autouse=True)
def forced() -> Iterator[None]:
    with genfuse.backend("triton"):
        yield


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", rotating(1, 60))
def test_generated(dtype: torch.dtype, seed: int, poisoned: None) -> None:
    rng, layout = np.random.default_rng([71, seed]), LAYOUTS[seed % len(LAYOUTS)]
    hold(upfirdn2d, rng, dtype, layout, channels=(1, 3), largest=7)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("taps", [(6,), (4, 4)])
@pytest.mark.parametrize(
    "options", [{"up": 2, "padding": (3, 2, 3, 2)}, {"down": 2, "padding": (2, 2, -3, 2)}], ids=["up", "down"]
)
def test_pictures_of_several_tiles(last: bool, taps: tuple[int, ...], options: dict[str, Any]) -> None:
    x, f = torch.randn(2, 2, 9, 140), torch.randn(taps)
    x = x.to(memory_format=torch.channels_last) if last else x
    whole = {"up": (1, 1), "down": (1, 1), "flip_filter": False, "gain": 1.0} | {
        name: value if name == "padding" else (value, value) for name, value in options.items()
    }
    out = upfirdn2d(x, f, **options)
    want, bound = defined(x, f, whole)
    assert ((out.double() - want).abs() <= 30 * 2.0**-24 * bound).all()
    assert out.is_contiguous(memory_format=torch.channels_last) == last
    assert torch.equal(upfirdn2d(x[1:], f, **options), out[1:])


def test_nothing_beyond_the_picture_and_no_inserted_zero_is_read() -> None:
    """An infinite factor that falls on zeros alone leaves the result finite."""
    f = torch.ones(4, 4)
    f[1::2], f[:, 1::2] = torch.inf, torch.inf
    out = upfirdn2d(torch.ones(1, 2, 5, 5), f, up=2, down=2, padding=(0, 2, 0, 2), flip_filter=True)
    assert out.isfinite().all()
    row = torch.tensor([1.0, torch.inf, 1.0, torch.inf])
    assert upfirdn2d(torch.ones(1, 1, 5, 5), row, up=2, down=2, flip_filter=True).isfinite().all()


def test_extreme_values() -> None:
    x = torch.tensor([1e38, -1e38, torch.inf, torch.nan, 1e-42, 0.0]).expand(1, 1, 6, 6).contiguous()
    out = upfirdn2d(x, None)
    assert torch.equal(out.nan_to_num(7, 8, 9), x.nan_to_num(7, 8, 9))
    assert upfirdn2d(x[:0], torch.ones(3), padding=1).shape == (0, 1, 6, 6)


@pytest.mark.parametrize("taps", [(3,), (2, 3)])
def test_gradients_of_first_and_second_order(taps: tuple[int, ...]) -> None:
    x = torch.randn(1, 1, 3, 2, dtype=torch.float64, requires_grad=True)
    f = torch.randn(taps, dtype=torch.float64)
    options = ((2, 1), (1, 2), (2, 1, 1, 2), False, 2.0)
    assert genfuse.explain("upfirdn2d", x, f).backend == "triton"

    def gradients(y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        return first, *torch.autograd.grad(first.square().sum(), x)

    want = gradients(reference.upfirdn2d(x, f, *options))
    for mine, exact in zip(gradients(upfirdn2d(x, f, *options)), want, strict=True):
        torch.testing.assert_close(mine, exact)

"""`upfirdn2d` against its definition in float64, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

import genfuse
from genfuse import dispatch
from genfuse.errors import UnsupportedError
from genfuse.ops import upfirdn2d
from ops.cpu_cases import DTYPES, threads
from ops.upfirdn2d_cases import Options, generated, hold


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "sliced", "batch_strided"])
def test_generated_calls(dtype: torch.dtype, layout: str, isa: str, poisoned: None, proof: bool) -> None:
    rng = np.random.default_rng(DTYPES.index(dtype) + 7 * len(layout))
    for _ in range(200 if proof else 12):
        hold(upfirdn2d, rng, dtype, layout)


def test_a_filter_of_one_axis_is_its_outer_product() -> None:
    x, f = torch.randn(2, 3, 9, 14), torch.randn(6)
    options: Options = {"up": 2, "down": 3, "padding": [5, -1, 2, 7], "gain": 3.0}
    torch.testing.assert_close(upfirdn2d(x, f, **options), upfirdn2d(x, f[:, None] * f, **options))


@pytest.mark.parametrize("last", [False, True])
def test_bits_depend_on_neither_threads_nor_batch(last: bool) -> None:
    x = torch.randn(3, 40, 61, 50)
    x = x.to(memory_format=torch.channels_last) if last else x
    f = torch.randn(5, 4)
    outs = []
    for count in (1, 2, 3):
        with threads(count):
            outs.append(upfirdn2d(x, f, up=2, down=3, padding=4))
    assert torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2])
    assert torch.equal(upfirdn2d(x[1:2], f, up=2, down=3, padding=4), outs[0][1:2])
    assert outs[0].is_contiguous(memory_format=torch.channels_last) == last


@pytest.mark.parametrize("backend", ["cpu", "aten", "reference"])
def test_more_is_cut_off_than_the_picture_has_where_the_other_side_is_padded(
    backend: dispatch.Backend,
) -> None:
    x = torch.arange(12.0).reshape(1, 1, 2, 6)
    with genfuse.backend(backend):
        made = upfirdn2d(x, torch.ones(1), padding=(-1, 0, 6, -3))
    assert made.shape == (1, 1, 5, 5) and not made.any()
    with genfuse.backend(backend):
        made = upfirdn2d(x, torch.ones(1), padding=(0, 0, -3, 6))
    assert made.shape == (1, 1, 5, 6) and not made.any()


def test_nothing_beyond_the_picture_and_no_inserted_zero_is_read() -> None:
    """An infinite factor that falls on zeros alone leaves the result finite, along y."""
    f = torch.ones(4, 4)
    f[1::2] = torch.inf
    out = upfirdn2d(torch.ones(1, 2, 5, 5), f, up=(1, 2), down=(1, 2), padding=(0, 0, 0, 2), flip_filter=True)
    assert out.isfinite().all()


def test_extreme_values() -> None:
    x = torch.tensor([1e38, -1e38, torch.inf, torch.nan, 1e-42, 0.0]).expand(1, 1, 6, 6).contiguous()
    out = upfirdn2d(x, torch.ones(1, 1))
    assert torch.equal(out.nan_to_num(7, 8, 9), x.nan_to_num(7, 8, 9))
    assert upfirdn2d(x[:0], torch.ones(3), padding=1).shape == (0, 1, 6, 6)
    assert upfirdn2d(x, None, down=2, padding=-1).shape == (1, 1, 2, 2)


@pytest.mark.parametrize("seed", range(12))
def test_gradients_of_first_and_second_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape, taps, options = generated(rng)
    shape = (1, 1 + seed % 2, min(shape[2], 5), min(shape[3], 5))
    options["padding"] = tuple(
        max(p, q) for p, q in zip(options["padding"], (-1, taps[-1], -1, taps[0]), strict=True)
    )
    x = torch.from_numpy(rng.standard_normal(shape)).requires_grad_()
    f = torch.from_numpy(rng.standard_normal(taps))
    assert genfuse.explain("upfirdn2d", x, f).backend == "cpu"
    assert torch.autograd.gradcheck(lambda u: upfirdn2d(u, f, **options), x)
    assert torch.autograd.gradgradcheck(lambda u: upfirdn2d(u, f, **options).square(), x)


def test_gradient_of_the_filter_and_by_batches() -> None:
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    f = torch.randn(3, dtype=torch.float64, requires_grad=True)
    options: Options = {"up": 2, "padding": (1, 2, 0, 1), "gain": 2.0}
    assert torch.autograd.gradcheck(lambda u, v: upfirdn2d(u, v, **options), (x, f))
    fixed = f.detach()
    assert torch.autograd.gradcheck(
        lambda u: upfirdn2d(u, fixed, **options), x, check_batched_grad=True, check_forward_ad=True
    )


def test_explained() -> None:
    """What is said is what runs: gradients of the filter, and tangents, are PyTorch's."""
    x, f = torch.randn(1, 2, 4, 5), torch.randn(3, requires_grad=True)
    choice = genfuse.explain("upfirdn2d", x, f=f, padding=1)
    assert choice.backend == "aten" and "filter's gradient" in choice.passed_over["cpu"]
    with genfuse.backend(strict=True):
        assert genfuse.explain("upfirdn2d", x, f).backend is None
        with pytest.raises(UnsupportedError, match="the filter's gradient"):
            upfirdn2d(x, f, padding=1)
    with torch.no_grad():
        assert genfuse.explain("upfirdn2d", x, f).backend == "cpu"
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        for op in ("upfirdn2d", "bias_act"):
            choice = genfuse.explain(op, dual, None)
            assert choice.backend == "aten" and "forward-mode" in choice.passed_over["cpu"]


def test_compiles() -> None:
    x, f = torch.randn(2, 3, 8, 9, requires_grad=True), torch.randn(4, 4)
    compiled = torch.compile(
        lambda u: upfirdn2d(u, f, up=2, padding=(2, 1, 2, 1)), fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(compiled(x), upfirdn2d(x, f, up=2, padding=(2, 1, 2, 1)))
    torch.library.opcheck(
        torch.ops.genfuse.upfirdn2d.default, (x, f, [2, 1], [1, 2], [3, 1, 2, 0], False, 1.5)
    )


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"x": torch.ones(3, 4)}, ValueError, "x has shape"),
        ({"x": torch.ones(1, 1, 4, 4, dtype=torch.int64)}, TypeError, "x has dtype"),
        ({"f": torch.ones(2, 2, 2)}, ValueError, "f has shape"),
        ({"f": torch.ones(2, dtype=torch.int64)}, TypeError, "f has dtype"),
        ({"f": torch.ones(9)}, ValueError, "does not fit"),
        ({"up": 0}, ValueError, "up is 0"),
        ({"down": (1, 2, 3)}, ValueError, "down is"),
        ({"down": 1.5}, ValueError, "down is 1.5"),
        ({"padding": (1, 2, 3)}, ValueError, "padding is"),
        ({"padding": (1, 0.5)}, TypeError, "padding is 0.5"),
        ({"flip_filter": 1}, TypeError, "flip_filter is 1"),
        ({"gain": torch.nan}, ValueError, "gain is nan"),
    ],
)
def test_bad_arguments(arguments: Options, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        upfirdn2d(**{"x": torch.ones(1, 1, 4, 4), "f": torch.ones(2, 2), **arguments})

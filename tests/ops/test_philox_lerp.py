"""`philox_lerp` against its definition in float64, its weights bit for bit, and its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.ops import philox_lerp
from genfuse_kernels import _cpu
from genfuse_kernels.common.guarded import LAYOUTS, laid_out
from genfuse_kernels.philox_lerp import cases, cpu_impl, reference, spec
from genfuse_kernels.philox_normal.spec import STREAM_INTERPOLATION
from ops.cpu_cases import DTYPES, threads


def batches(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_generated_calls(dtype: torch.dtype, isa: str, proof: bool) -> None:
    for seed in range(400 if proof else 40):
        case = cases.case(seed, dtype)
        assert case.run(cpu_impl.philox_lerp) <= 1, case.name


@pytest.mark.parametrize("backend", ["cpu", "aten", "reference"])
def test_every_backend_and_memory_format(backend: Any, poisoned: None) -> None:
    for start_layout in LAYOUTS:
        for end_layout in ("contiguous", start_layout):
            start, end = (
                laid_out(t, of) for t, of in zip(batches(3, 5, 6, 7), (start_layout, end_layout), strict=True)
            )
            with genfuse.backend(backend):
                out = philox_lerp(start, end, 2**62 + 5, 3)
            want, allowed = cases.expected(start, end, 2**62 + 5, 3)
            assert ((out.double() - want).abs() <= allowed).all()
            assert out.stride() == torch.empty_like(start).stride()


@pytest.mark.usefixtures("isa")
def test_weights_to_the_bit() -> None:
    """Between 0 and 1 stands the weight itself; its words are Philox's, which have published vectors of their own."""
    zero, one = torch.zeros(19, 1), torch.ones(19, 1)
    for seed, first in ((0, 0), (5, 7), (2**63 - 1, 2**32 - 19)):
        words = [_cpu.philox_words(1, 0, seed, first + n, STREAM_INTERPOLATION)[0] for n in range(19)]
        want = torch.tensor([((word >> 9) + 0.5) * 2.0**-23 for word in words], dtype=torch.float64)
        assert torch.equal(reference.weights(19, seed, first), want)
        assert torch.equal(philox_lerp(zero, one, seed, first)[:, 0].double(), want)
        assert torch.equal(philox_lerp(one, zero, seed, first)[:, 0].double(), 1 - want)
        assert torch.equal(philox_lerp(zero.double(), one.double(), seed, first)[:, 0], want)


def test_bits_depend_on_a_sample_and_its_number_alone() -> None:
    for shape in ((9, 3, 65, 67), (37, 2)):
        start, end = batches(*shape)
        with threads(1):
            want = philox_lerp(start, end, 5, 2)
        with threads(3):
            assert torch.equal(philox_lerp(start, end, 5, 2), want)
        assert torch.equal(philox_lerp(start[4:7], end[4:7], 5, 6), want[4:7])
    last = torch.channels_last
    start, end = batches(2, 3, 33, 31)
    want = philox_lerp(start, end, 5)
    out = philox_lerp(start.to(memory_format=last), end.to(memory_format=last), 5)
    assert torch.equal(out, want) and out.is_contiguous(memory_format=last)
    assert torch.equal(philox_lerp(start, end.to(memory_format=last), 5), want)
    room = start.clone()
    cpu_impl.philox_lerp(room, room, end, 5, 0)
    assert torch.equal(room, want)


def test_extreme_values() -> None:
    """What is not finite stays so; no difference of huge numbers is taken, and between equals lies what equals them."""
    for dtype in DTYPES:
        largest = torch.finfo(dtype).max
        start = torch.tensor([largest, largest, 0.0, 1.1, torch.inf, torch.nan], dtype=dtype).expand(50, 6)
        end = torch.tensor([-largest, largest, 0.0, 1.1, 1.0, 1.0], dtype=dtype).expand(50, 6)
        out = philox_lerp(start, end, 0)
        assert out[:, 0].isfinite().all() and out[:, 4].isposinf().all() and out[:, 5].isnan().all()
        equals = start[:, 1:4].double()  # to a rounding, where a product and sum are not fused
        bound = spec.allowed(equals.abs(), equals, dtype)
        assert ((out[:, 1:4].double() - equals).abs() <= bound).all()


def test_nothing() -> None:
    for shape in ((0, 3, 2), (2, 0), (0,)):
        assert philox_lerp(torch.ones(shape), torch.ones(shape), 1).shape == shape


def test_gradients_of_any_order() -> None:
    start, end = (t.requires_grad_() for t in batches(3, 2, 3, dtype=torch.float64))
    assert genfuse.explain("philox_lerp", start, end, 7).backend == "cpu"
    assert torch.autograd.gradcheck(lambda a, b: philox_lerp(a, b, 7), (start, end))
    assert torch.autograd.gradgradcheck(lambda a, b: philox_lerp(a, b, 7).square(), (start, end))
    (of_end,) = torch.autograd.grad(philox_lerp(start.detach(), end, 7).sum(), end)
    assert torch.equal(of_end[:, 0, 0], reference.weights(3, 7, 0))
    many = torch.randn(4, 3, 2, 3, dtype=torch.float64)
    (found,) = torch.autograd.grad(philox_lerp(start, end, 7), start, many, is_grads_batched=True)
    assert torch.allclose(found, many * (1 - reference.weights(3, 7, 0)).reshape(-1, 1, 1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_keep_dtype_and_memory_format(dtype: torch.dtype) -> None:
    start, end = (t.to(memory_format=torch.channels_last) for t in batches(2, 3, 5, 5, dtype=dtype))
    out = philox_lerp(start, end.requires_grad_(), 7)
    weight = torch.randn(2, 3, 5, 5).to(dtype=dtype, memory_format=torch.channels_last)
    (of_end,) = torch.autograd.grad(out, end, weight)
    want, allowed = cases.expected(None, weight, 7, 0)
    assert of_end.dtype == dtype and of_end.stride() == end.stride() and not start.requires_grad
    assert ((of_end.double() - want).abs() <= allowed).all()


def test_what_pytorch_sees() -> None:
    start, end = batches(3, 4)
    torch.library.opcheck(torch.ops.genfuse.philox_lerp.default, (start, end, 5, 2))
    torch.library.opcheck(torch.ops.genfuse.philox_lerp.default, (start.requires_grad_(), end, 5, 2))
    torch.library.opcheck(torch.ops.genfuse.philox_lerp.default, (None, end, 5, 2))
    start = start.detach()
    compiled = torch.compile(philox_lerp, fullgraph=True)
    for seed in (5, 2**62 + 1, 3):
        assert torch.equal(compiled(start, end, seed), philox_lerp(start, end, seed))
    tangent = torch.func.jvp(lambda a: philox_lerp(a, end, 5), (start,), (torch.ones_like(start),))[1]
    assert torch.equal(tangent[:, 0].double(), 1 - reference.weights(3, 5, 0))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"start": [1.0]}, TypeError, r"start is list, expected a tensor \(N, ...\)"),
        ({"start": torch.ones(2, dtype=torch.int64)}, TypeError, r"start has dtype torch\.int64"),
        ({"end": None}, TypeError, "end is NoneType, expected a tensor like start"),
        ({"end": torch.ones(2, 4)}, ValueError, r"end has shape \(2, 4\), expected \(2, 3\) as start"),
        (
            {"end": torch.ones(2, 3).double()},
            TypeError,
            r"end has dtype torch\.float64, expected torch\.float32",
        ),
        ({"seed": -1}, ValueError, r"seed is -1, expected an int in \[0, 2\*\*63\)"),
        ({"seed": 2**63}, ValueError, r"seed is 9223372036854775808, expected an int in \[0, 2\*\*63\)"),
        ({"seed": 1.5}, TypeError, "seed is 1.5, expected a whole number"),
        ({"first": -1}, ValueError, "first is -1, expected 0 or more"),
        (
            {"first": 2**32 - 1},
            ValueError,
            r"first is 4294967295 of 2 samples, expected numbers of samples in",
        ),
    ],
)
def test_bad_arguments(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"start": torch.ones(2, 3), "end": torch.ones(2, 3), "seed": 1, "first": 0}
    with pytest.raises(error, match=message):
        philox_lerp(**{**given, **changed})


def test_bad_calls_of_the_kernel_write_nothing() -> None:
    out = torch.full((2, 3), 7.0)
    for first, start in ((2**32 - 1, out), (-1, out), (0, None)):
        with pytest.raises(ValueError, match=r"first is|are absent"):
            cpu_impl.philox_lerp(out, start, None, 1, first)
    assert out.eq(7).all()

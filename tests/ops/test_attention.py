"""`attention` against the float64 reference, on every instruction set, and as its users call it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import genfuse
from genfuse.ops import attention
from genfuse_kernels.attention import cpu_impl, reference, spec
from ops.attention_cases import allowed, check, random_case
from ops.cpu_cases import ISAS, instruction_set, threads


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("seed", range(30))
def test_random_cases(isa: str, seed: int) -> None:
    with instruction_set(isa):
        check(cpu_impl.attention, random_case(np.random.default_rng([8, seed]), spec.DTYPES[seed % 3]))


@pytest.mark.parametrize("keys", [1, 15, 16, 127, 128, 129, 256, 300])
@pytest.mark.parametrize("queries", [1, 6, 71, 72, 73, 145])
def test_every_tail_of_the_blocks(queries: int, keys: int) -> None:
    q, k, v = torch.randn(1, 2, queries, 24), torch.randn(1, 2, keys, 24), torch.randn(1, 2, keys, 17)
    wide = (q.double(), k.double(), v.double())
    error = (attention(q, k, v).double() - reference.attention(*wide, 24**-0.5)).abs()
    assert (error <= allowed(*wide, 24**-0.5, torch.float32)).all()


def test_bits_depend_on_the_sample_alone() -> None:
    """Neither on threads nor on the batch, nor on how many heads are packed at a time."""
    q, k, v = torch.randn(3, 4, 1000, 300), torch.randn(3, 4, 900, 300), torch.randn(3, 4, 900, 300)
    with threads(1):
        one = attention(q, k, v)
    with threads(2):
        assert torch.equal(attention(q, k, v), one)
        assert torch.equal(attention(q[1:2], k[1:2], v[1:2]), one[1:2])
        assert torch.equal(attention(q[:, 3:], k[:, 3:], v[:, 3:]), one[:, 3:])


def test_extreme_scores() -> None:
    """Large scores saturate without overflow; where the definition is not finite, neither is the result."""
    q, k, v = torch.randn(1, 1, 80, 16), torch.randn(1, 1, 200, 16), torch.randn(1, 1, 200, 16)
    wide = (q.double() * 1e3, k.double() * 1e3, v.double())
    error = (attention(q * 1e3, k * 1e3, v).double() - reference.attention(*wide, 0.25)).abs()
    assert (error <= allowed(*wide, 0.25, torch.float32)).all()
    for value in (math.nan, math.inf, -math.inf):
        broken = k.clone()
        broken[0, 0, 150, 3] = value
        want = reference.attention(q.double(), broken.double(), v.double(), 0.25).isfinite()
        assert torch.equal(attention(q, broken, v, scale=0.25).isfinite(), want)
    assert attention(q.abs() + 1, torch.full_like(k, -math.inf), v).isnan().all()
    assert attention(q * 0, k, v, scale=0.25).allclose(v.mean(2, keepdim=True), atol=1e-6)
    tiny = torch.full((1, 1, 8, 4), 1e-42)
    assert attention(tiny, tiny, tiny).allclose(tiny)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("values", [1e-40, 1e-36, 1e-17, 1.0, 1e17, 1e36])
@pytest.mark.parametrize("scores", [0.0, 1.0, 19.0, 22.0, 300.0])
def test_few_channels_whatever_the_scores_and_values(scores: float, values: float, isa: str) -> None:
    """Powers of scores that are raised as they are neither overflow nor lose what small values are made of."""
    rng = np.random.default_rng(3)
    q, k, v = (torch.from_numpy(rng.uniform(-1, 1, (2, 2, 37, 8))).float() for _ in range(3))
    q, k, v = q * scores, k / 3, v * values  # the largest scores are about `scores`
    v[0, 0, :, 2] = 0
    v[0, 1, 5, 3] = 1.0
    want = reference.attention(q.double(), k.double(), v.double(), 1.0)
    out = torch.full_like(q, math.nan)
    with instruction_set(isa):
        cpu_impl.attention(out, q, k, v, 1.0)
    denormal = 37 * 2.0**-149  # to which small values are rounded
    assert (
        (out.double() - want).abs() <= allowed(q.double(), k.double(), v.double(), 1.0, q.dtype) + denormal
    ).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", ["q", "k", "v"])
def test_few_channels_are_finite_where_the_definition_is(which: str, broken: float, isa: str) -> None:
    tensors = {name: torch.rand(1, 2, 21, 5) for name in "qkv"}
    tensors[which][0, 1, 7, 3] = broken
    q, k, v = tensors.values()
    want = reference.attention(q.double(), k.double(), v.double(), 0.3).isfinite()
    out = torch.zeros_like(q)
    with instruction_set(isa):
        cpu_impl.attention(out, q, k, v, 0.3)
    assert torch.equal(out.isfinite(), want)


def test_gradients_compile_and_backends() -> None:
    q, k, v = (torch.randn(2, 2, 5, 4, requires_grad=True) for _ in range(3))
    ours = torch.autograd.grad(attention(q, k, v).square().sum(), (q, k, v))
    theirs = torch.autograd.grad(F.scaled_dot_product_attention(q, k, v).square().sum(), (q, k, v))
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, atol=1e-5)
    assert genfuse.explain("attention", q, k, v).backend == "aten"
    plain = [t.detach() for t in (q, k, v)]
    assert genfuse.explain("attention", *plain).backend == "cpu"
    compiled = torch.compile(lambda *t: attention(*t), fullgraph=True)
    assert torch.equal(compiled(*plain), attention(*plain))
    torch.library.opcheck(torch.ops.genfuse.attention.default, (*plain, 0.5))
    for name in ("aten", "reference"):
        with genfuse.backend(name):  # type: ignore[arg-type]
            assert torch.allclose(
                attention(*plain), attention(*(t.double() for t in plain)).float(), atol=1e-5
            )


def test_what_it_returns_is_rows_for_the_projection() -> None:
    q = torch.randn(2, 3, 5, 4)
    out = attention(q, q, q)
    assert out.shape == (2, 3, 5, 4) and out.transpose(1, 2).is_contiguous()
    assert attention(q[:0], q[:0], q[:0]).shape == (0, 3, 5, 4)
    assert attention(q[:, :, :0], q, q).shape == (2, 3, 0, 4)


def test_bad_arguments() -> None:
    q = torch.randn(2, 3, 5, 4)
    with pytest.raises(ValueError, match="q has shape"):
        attention(q[0], q, q)
    with pytest.raises(ValueError, match="k has shape"):
        attention(q, q[..., :3], q)
    with pytest.raises(ValueError, match="k has shape"):
        attention(q, q[:, :, :0], q[:, :, :0])
    with pytest.raises(ValueError, match=r"v has shape .* as q$"):
        attention(q, q, q[:, :, :4])
    with pytest.raises(TypeError, match=r"v has dtype .* as q; cast it with .to.q.dtype"):
        attention(q, q, q.double())
    with pytest.raises(ValueError, match="scale is nan"):
        attention(q, q, q, scale=math.nan)
    with genfuse.backend("cpu"), pytest.raises(genfuse.UnsupportedError, match="float64"):
        attention(q.double(), q.double(), q.double())

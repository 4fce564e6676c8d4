"""`philox_lerp`: each sample between two others, by a weight that depends on seed and sample number alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.library import LIBRARY, define, fake, gradient_limits, needs_dispatcher, needs_gradient
from genfuse.ops.memory import empty_like
from genfuse_kernels.philox_lerp import reference
from genfuse_kernels.philox_lerp.spec import MOST_SAMPLES


def philox_lerp(start: Tensor, end: Tensor, seed: int, first: int = 0) -> Tensor:
    """(1 − u)·start + u·end, with u uniform in (0, 1), one a sample: a WGAN-GP's interpolates (Gulrajani et al. 2017).

    start, end  (N, ...) alike, float32, float64, bfloat16 or float16; any strides without a copy on the CPU
    seed        in [0, 2⁶³): the key of Philox4x32-10 (Salmon et al., SC11)
    first       number of the first sample, 0 or more, with first + N at most 2³²: u of sample n depends on seed and
                first + n alone, not on N, memory format, dtype, threads or backend

    Returns a tensor like start, in its memory format, from arithmetic in float32 (of float64 in float64): each of start
    and end is read once. No difference is taken that could overflow. Differentiable to any order, by the same kernel.
    ValueError or TypeError, naming the argument.
    """
    check.sample("start", start)
    check.dense("end", end, "like start")
    check.like("end", end, start, model="start")
    check.seed(seed)
    check.count("first", first, 0)
    if first + start.shape[0] > MOST_SAMPLES:
        raise ValueError(
            f"first is {first} of {start.shape[0]} samples, expected numbers of samples in [0, 2**32)"
        )
    call = torch.ops.genfuse.philox_lerp if needs_dispatcher(start, end) else _launch
    out: Tensor = call(start, end, seed, first)
    return out


def _launch(start: Tensor | None, end: Tensor | None, seed: int, first: int) -> Tensor:
    like = _given(start, end)
    out = empty_like(like)
    dispatch.select("philox_lerp", like.device, like.dtype)(out, start, end, seed, first)
    return out


def _given(start: Tensor | None, end: Tensor | None) -> Tensor:
    """What the result is like."""
    like = start if start is not None else end
    if like is None:
        raise ValueError("start and end are None, expected at least one of them")
    return like


class _PhiloxLerp(torch.autograd.Function):
    """With the gradients, each of which is the op again, the other one absent."""

    @staticmethod
    def forward(ctx: Any, start: Tensor | None, end: Tensor | None, seed: int, first: int) -> Tensor:
        ctx.numbers = seed, first
        with torch._C._AutoDispatchBelowAutograd():
            out: Tensor = torch.ops.genfuse.philox_lerp(start, end, seed, first)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        batched = torch._C._functorch.is_legacy_batchedtensor(gradient)  # `is_grads_batched`
        call = reference.philox_lerp if batched else torch.ops.genfuse.philox_lerp
        of_start, of_end, *_ = ctx.needs_input_grad
        return (
            call(gradient, None, *ctx.numbers) if of_start else None,
            call(None, gradient, *ctx.numbers) if of_end else None,
            None,
            None,
        )


# --- registration ---

define("philox_lerp(Tensor? start, Tensor? end, SymInt seed, SymInt first) -> Tensor")
torch.library.impl(LIBRARY, "philox_lerp", "CPU")(_launch)
torch.library.impl(LIBRARY, "philox_lerp", "CUDA")(_launch)


@fake("philox_lerp")
def _fake(start: Tensor | None, end: Tensor | None, *_: object) -> Tensor:
    return torch.empty_like(_given(start, end))


@torch.library.impl(LIBRARY, "philox_lerp", "Autograd")
def _autograd(start: Tensor | None, end: Tensor | None, seed: int, first: int) -> Tensor:
    if needs_gradient(start, end):
        like, limits = _given(start, end), gradient_limits(start, end)
        if dispatch.resolve("philox_lerp", like.device, like.dtype, True, limits) in ("aten", "reference"):
            return reference.philox_lerp(start, end, seed, first)
        out: Tensor = _PhiloxLerp.apply(start, end, seed, first)
        return out
    with torch._C._AutoDispatchBelowAutograd():
        plain: Tensor = torch.ops.genfuse.philox_lerp(start, end, seed, first)
    return plain

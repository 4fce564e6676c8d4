"""`spectral_norm`: weights over their largest singular values, of all layers of a network in one call."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check, tensor_list
from genfuse.ops.asked import asks_for_graph
from genfuse.ops.composed_gradient import composed_gradient
from genfuse.ops.library import (
    LIBRARY,
    any_needs_dispatcher,
    define,
    fake,
    needs_gradient,
    only_recorded,
)
from genfuse.ops.passed import Passed, forms
from genfuse_kernels.spectral_norm import reference
from genfuse_kernels.spectral_norm.spec import sigma_dtype, triton_limit, vector_sizes

_Made = tuple[list[Tensor], Tensor, Tensor]
"""Normalised weights, their norms, and the vectors that these go by."""

_OPTIONS = 6
"""Inputs of `_SpectralNorm` in front of the weights."""


def spectral_norm(
    weights: Sequence[Tensor],
    us: Sequence[Tensor],
    vs: Sequence[Tensor],
    *,
    dims: Sequence[int] | None = None,
    steps: int = 1,
    eps: float = 1e-12,
) -> tuple[list[Tensor], Tensor]:
    """Each weight over an estimate of its largest singular value, and these estimates (layers,), without a gradient.

    weights  of two axes or more, float32, bfloat16 or float16 (arithmetic in float32; float64 on `aten`)
    us, vs   a layer's (rows,) and (columns,), dense, in its weight's dtype, none of them twice: near the first singular
             vectors of its matrix, and nearer after the call, in place, where steps > 0
    dims     the axis of each weight that is its matrix's rows, the others its columns; 0 of all where left out, 1 is a
             transposed convolution's
    steps    of the power iteration: 1 in training, 0 in evaluation, which changes nothing
    eps      the least that vectors are divided by

    As `torch.nn.utils.parametrizations.spectral_norm` computes it (Miyato et al. 2018, algorithm 1): the vectors are
    constants to the gradient, which is exact, twice too. Gradients go by the vectors as this call left them, whatever
    later ones do. TypeError or ValueError, naming the layer, before anything is changed. Triton's kernels take
    matrices of at most 1,048,560 rows and 16,776,960 columns; on a GPU a call with larger ones runs on `aten`, or
    raises UnsupportedError where that is forbidden.
    """
    weights, us, vs = (
        tensor_list.listed(name, given) for name, given in (("weights", weights), ("us", us), ("vs", vs))
    )
    vectors = [*us, *vs]
    every = [*weights, *vectors]
    of_tensors = forms(every) if all(map(Tensor.is_contiguous, vectors)) else None
    axes_of = None if dims is None else tuple(dims)
    key = None if of_tensors is None else (len(weights), len(us), of_tensors, axes_of, steps, eps)
    axes = _passed.get(key) or _passed.add(key, _checked(weights, us, vs, dims, steps, eps))
    for name, vectors_of in (("us", us), ("vs", vs)):
        tensor_list.refuse_negatives(name, vectors_of)
        tensor_list.refuse_gradients("spectral_norm", name, vectors_of)
    given = (us, vs, axes, steps, float(eps))
    if not any_needs_dispatcher(every):
        made, sigmas, _ = _launch(weights, *given)
        return made, sigmas
    if only_recorded(*every):
        sigmas, _, *made = _SpectralNorm.apply(_launch, *given, *weights)
        return made, sigmas
    made, sigmas, vectors = torch.ops.genfuse.spectral_norm(weights, *given)
    if steps:
        with torch.no_grad():
            for u, v, kept in zip(us, vs, reference.split(vectors, weights, axes), strict=True):
                u.copy_(kept[0])
                v.copy_(kept[1])
    return made, sigmas


def _checked(
    weights: Sequence[Tensor],
    us: Sequence[Tensor],
    vs: Sequence[Tensor],
    dims: Sequence[int] | None,
    steps: int,
    eps: float,
) -> list[int]:
    """The axes, none negative."""
    check.count("steps", steps, 0)
    check.finite("eps", eps)
    if eps < 0:
        raise ValueError(f"eps is {eps}, expected 0 or more")
    dims = [0] * len(weights) if dims is None else list(dims)
    for name, given in (("us", us), ("vs", vs), ("dims", dims)):
        if len(given) != len(weights):
            raise ValueError(f"{name} has {len(given)} entries, expected {len(weights)} as weights")
    tensor_list.check_each("weights", weights)
    axes = []
    for place, (weight, dim) in enumerate(zip(weights, dims, strict=True)):
        name = f"weights[{place}]"
        if weight.ndim < 2 or 0 in weight.shape:
            raise ValueError(
                f"{name} has shape {tuple(weight.shape)}, expected two axes or more, none of size 0"
            )
        check.same_device(name, weight, weights[0], "weights[0]")
        check.integer(f"dims[{place}]", dim)
        if not -weight.ndim <= dim < weight.ndim:
            raise ValueError(f"dims[{place}] is {dim}, expected an axis of {name} with {weight.ndim}")
        axes.append(dim % weight.ndim)
        rows, columns = vector_sizes(weight, axes[-1])
        for which, vector, size in (("us", us[place], rows), ("vs", vs[place], columns)):
            check.like(f"{which}[{place}]", vector, weight, (size,), name)
            if not vector.is_contiguous():
                raise ValueError(f"{which}[{place}] has stride {vector.stride()}, expected a dense vector")
    return axes


_passed: Passed[list[int]] = Passed()
"""The axes of calls that fit."""


def _launch(
    weights: Sequence[Tensor],
    us: Sequence[Tensor],
    vs: Sequence[Tensor],
    dims: Sequence[int],
    steps: int,
    eps: float,
) -> _Made:
    made = _room(weights, dims)
    if weights:
        launch = _kernel("spectral_norm", weights, dims)
        if steps:
            tensor_list.begin_change({"us + vs": [*us, *vs]}, "us + vs")
        launch(*made, weights, us, vs, dims, steps, eps)
    return made


def limits(weights: Sequence[Tensor], dims: Sequence[int]) -> dict[dispatch.Backend, str]:
    """Why our kernels do not take a call with these weights, whose axes are none negative."""
    why = None if weights[0].device.type == "cpu" else triton_limit([w.shape for w in weights], dims)
    return {} if why is None else {"triton": why}


def _kernel(name: str, weights: Sequence[Tensor], dims: Sequence[int]) -> dispatch.Launcher:
    """The op's launcher, or that of its gradient."""
    device, dtype = weights[0].device, sigma_dtype(weights)
    if name == "spectral_norm":
        return dispatch.select("spectral_norm", device, dtype, limits=limits(weights, dims))
    chosen = dispatch.resolve("spectral_norm", device, dtype, limits=limits(weights, dims))
    module = importlib.import_module(f"genfuse_kernels.spectral_norm.{chosen}_impl")
    return dispatch.gradient_launcher("spectral_norm", chosen, getattr(module, name), weights[0])


def _room(weights: Sequence[Tensor], dims: Sequence[int]) -> _Made:
    dtype = sigma_dtype(weights)
    device = weights[0].device if weights else torch.device("cpu")
    kept = sum(sum(vector_sizes(weight, dim)) for weight, dim in zip(weights, dims, strict=True))
    return (
        [torch.empty(weight.shape, dtype=weight.dtype, device=device) for weight in weights],
        torch.empty(len(weights), dtype=dtype, device=device),
        torch.empty(kept, dtype=dtype, device=device),
    )


class _SpectralNorm(torch.autograd.Function):
    """Norms and normalised weights, by vectors that are no inputs of the graph."""

    @staticmethod
    def forward(
        ctx: Any,
        run: Callable[..., _Made],
        us: Sequence[Tensor],
        vs: Sequence[Tensor],
        dims: Sequence[int],
        steps: int,
        eps: float,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        normalised, sigmas, vectors = run(weights, us, vs, dims, steps, eps)
        ctx.dims = dims
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(sigmas, vectors)
        ctx.save_for_backward(sigmas, vectors, *weights, *normalised)
        return (sigmas, vectors, *normalised)

    @staticmethod
    def backward(ctx: Any, _: None, __: None, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        sigmas, vectors, *rest = ctx.saved_tensors
        weights, normalised = rest[: len(gradients)], rest[len(gradients) :]
        asked = [
            i for i, each in enumerate(gradients) if each is not None and ctx.needs_input_grad[_OPTIONS + i]
        ]
        found: list[Tensor | None] = [None] * len(gradients)
        if any(asks_for_graph(each) for each in gradients if each is not None):
            kept = reference.split(vectors, weights, ctx.dims)
            for i in asked:
                found[i] = _composed(gradients[i], weights[i], *kept[i], ctx.dims[i])
        elif asked:
            for i, made in zip(
                asked,
                _gradients(gradients, weights, normalised, sigmas, vectors, ctx.dims, asked),
                strict=True,
            ):
                found[i] = made
        return (*(None,) * _OPTIONS, *found)


def _gradients(
    gradients: Sequence[Tensor | None],
    weights: Sequence[Tensor],
    normalised: Sequence[Tensor],
    sigmas: Tensor,
    vectors: Tensor,
    dims: Sequence[int],
    asked: Sequence[int],
) -> list[Tensor]:
    """Of the weights that are asked for, in one call."""
    if len(asked) < len(weights):
        kept = reference.split(vectors, weights, dims)
        vectors = torch.cat([vector for i in asked for vector in kept[i]])
        sigmas = sigmas[asked]
    given = [each for i in asked if (each := gradients[i]) is not None]
    quotients, axes = [normalised[i] for i in asked], [dims[i] for i in asked]
    traced = any_needs_dispatcher([*given, *quotients])
    run = torch.ops.genfuse.spectral_norm_backward if traced else _launch_gradient
    found: list[Tensor] = run(given, quotients, sigmas, vectors, axes)
    return found


def _launch_gradient(
    gradients: Sequence[Tensor],
    normalised: Sequence[Tensor],
    sigmas: Tensor,
    vectors: Tensor,
    dims: Sequence[int],
) -> list[Tensor]:
    out = [torch.empty(each.shape, dtype=each.dtype, device=each.device) for each in normalised]
    _kernel("spectral_norm_gradient", normalised, dims)(out, gradients, normalised, sigmas, vectors, dims)
    return out


def _composed(gradient: Any, weight: Tensor, u: Tensor, v: Tensor, dim: int) -> Tensor | None:
    """With a graph behind it, of PyTorch's ops."""
    u, v = u.to(weight.dtype), v.to(weight.dtype)
    return composed_gradient(
        lambda of: reference.normalised(of[0], u, v, dim)[0],  # type: ignore[arg-type]
        [weight],
        gradient,
        [True],
    )[0]


# --- registration ---

define(
    "spectral_norm(Tensor[] weights, Tensor[] us, Tensor[] vs, int[] dims, int steps, float eps) -> "
    "(Tensor[] normalised, Tensor sigmas, Tensor vectors)"
)


@torch.library.impl(LIBRARY, "spectral_norm", "CompositeExplicitAutograd")
def _spectral_norm(weights: list[Tensor], us: list[Tensor], vs: list[Tensor], *rest: Any) -> _Made:
    """Changes nothing: what is traced puts the vectors where they belong itself."""
    return _launch(weights, [u.clone() for u in us], [v.clone() for v in vs], *rest)


define(
    "spectral_norm_backward(Tensor[] gradients, Tensor[] normalised, Tensor sigmas, Tensor vectors, int[] dims) -> "
    "Tensor[]"
)


@torch.library.impl(LIBRARY, "spectral_norm_backward", "CompositeExplicitAutograd")
def _backward(*arguments: Any) -> list[Tensor]:
    return _launch_gradient(*arguments)


@fake("spectral_norm_backward")
def _fake_backward(gradients: list[Tensor], normalised: list[Tensor], *_: Any) -> list[Tensor]:
    return [torch.empty_like(each, memory_format=torch.contiguous_format) for each in normalised]


@fake("spectral_norm")
def _fake(weights: list[Tensor], us: list[Tensor], vs: list[Tensor], dims: list[int], *_: Any) -> _Made:
    return _room(weights, dims)


@torch.library.impl(LIBRARY, "spectral_norm", "Autograd")
def _autograd(weights: list[Tensor], *given: Any) -> _Made:
    if needs_gradient(*weights):
        run = torch.ops.genfuse.spectral_norm
        sigmas, vectors, *made = _SpectralNorm.apply(run, *given, *weights)
        return made, sigmas, vectors
    with torch._C._AutoDispatchBelowAutograd():
        result: _Made = torch.ops.genfuse.spectral_norm(weights, *given)
    return result

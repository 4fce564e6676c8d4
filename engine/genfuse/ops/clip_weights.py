"""`clip_weights`: parameters clamped to an interval around zero, all of them in one call."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check, tensor_list
from genfuse.ops.library import LIBRARY, any_needs_dispatcher, define, fake

_SMALLEST_MAX = torch.finfo(torch.float16).max
"""A bound up to here every dtype holds."""


def clip_weights(parameters: Tensor | Iterable[Tensor], bound: float) -> None:
    """Clamp each of the parameters to [−bound, bound], in place, in one pass; NaN stays NaN, as `torch.clamp` has it.

    parameters   tensors of any shapes and strides, float32, float64, bfloat16 or float16 in any mix; each once, and
                 none overlapping another one's stretch of memory
    bound        at least 0, and a number of the parameters' dtypes; WGAN's is 0.01 (Arjovsky et al. 2017)

    TypeError or ValueError, naming the tensor, before anything is changed; UnsupportedError where a tensor requires a
    gradient and gradients are on.
    """
    given = tensor_list.listed("parameters", parameters)
    check.finite("bound", bound)
    if bound < 0:
        raise ValueError(f"bound is {bound}, expected 0 or more")
    if bound <= _SMALLEST_MAX and tensor_list.directly("clip_weights", (given,), float(bound)):
        return
    tensor_list.check_each("parameters", given)
    for dtype in {parameter.dtype for parameter in given}:
        if bound > torch.finfo(dtype).max:
            raise ValueError(
                f"bound is {bound}, expected at most {torch.finfo(dtype).max}, the largest {dtype}"
            )
    tensor_list.refuse_gradients("clip_weights", "parameters", given)
    if any_needs_dispatcher(given):
        tensor_list.refuse_negatives("parameters", given)
        torch.ops.genfuse.clip_weights(given, float(bound))
    else:
        _clip_weights(given, float(bound))


define("clip_weights(Tensor(a!)[] parameters, float bound) -> ()")


@torch.library.impl(LIBRARY, "clip_weights", "CompositeExplicitAutograd")
def _clip_weights(parameters: list[Tensor], bound: float) -> None:
    if not parameters:
        return
    first, limits = parameters[0], tensor_list.limits(parameters)
    launch = dispatch.select("clip_weights", first.device, first.dtype, limits=limits)
    tensor_list.begin_change({"parameters": parameters}, "parameters")
    launch(parameters, bound)


@fake("clip_weights")
def _fake(parameters: list[Tensor], bound: float) -> None:
    return None

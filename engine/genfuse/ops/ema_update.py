"""`ema_update`: an exponential moving average of parameters, all of them in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check, tensor_list
from genfuse.ops.library import LIBRARY, any_needs_dispatcher, define, fake


def ema_update(
    averages: Tensor | Iterable[Tensor], parameters: Tensor | Iterable[Tensor], decay: float
) -> None:
    """averages[i] = decay·averages[i] + (1 − decay)·parameters[i], in place, each tensor read once.

    averages     tensors of any shapes and strides, float32, float64, bfloat16 or float16; each once, and none
                 overlapping another one's stretch of memory
    parameters   as many, of the same shapes and on the same devices, of any of these dtypes: an average in float32 of
                 parameters in bfloat16, say. Arithmetic is in float32, float64 where both are
    decay        in [0, 1]

    Computed as `torch.lerp` computes it (Ho et al. 2020, appendix B, use decay 0.9999). TypeError or ValueError, naming
    the tensor, before anything is changed; UnsupportedError where a tensor requires a gradient and gradients are on.
    """
    to, of = tensor_list.listed("averages", averages), tensor_list.listed("parameters", parameters)
    decay = check.as_float("decay", decay)
    if not 0 <= decay <= 1:
        raise ValueError(f"decay is {decay}, expected a number in [0, 1]")
    if tensor_list.directly("ema_update", (to, of), decay):
        return
    tensor_list.check_each("averages", to)
    tensor_list.check_each("parameters", of)
    _check_pairs(to, of)
    tensor_list.refuse_gradients("ema_update", "averages", to)
    tensor_list.refuse_gradients("ema_update", "parameters", of)
    if any_needs_dispatcher([*to, *of]):
        tensor_list.refuse_negatives("averages", to)
        torch.ops.genfuse.ema_update(to, of, decay)
    else:
        _ema_update(to, of, decay)


def _check_pairs(averages: Sequence[Tensor], parameters: Sequence[Tensor]) -> None:
    if len(averages) != len(parameters):
        raise ValueError(
            f"averages has {len(averages)} tensors, expected {len(parameters)}: one for each of parameters"
        )
    for place, (average, parameter) in enumerate(zip(averages, parameters, strict=True)):
        if average.shape != parameter.shape:
            raise ValueError(
                f"averages[{place}] has shape {tuple(average.shape)}, expected {tuple(parameter.shape)} as "
                f"parameters[{place}]"
            )
        if average.device != parameter.device:
            raise ValueError(
                f"averages[{place}] is on {average.device}, expected {parameter.device} as parameters[{place}]"
            )


define("ema_update(Tensor(a!)[] averages, Tensor[] parameters, float decay) -> ()")


@torch.library.impl(LIBRARY, "ema_update", "CompositeExplicitAutograd")
def _ema_update(averages: list[Tensor], parameters: list[Tensor], decay: float) -> None:
    if not averages:
        return
    first, limits = averages[0], tensor_list.limits(averages, parameters)
    launch = dispatch.select("ema_update", first.device, first.dtype, limits=limits)
    tensor_list.begin_change({"averages": averages, "parameters": parameters}, "averages")
    launch(averages, parameters, decay)


@fake("ema_update")
def _fake(averages: list[Tensor], parameters: list[Tensor], decay: float) -> None:
    return None

"""`clip_grad_norm`: gradients scaled down together where their norm is too large."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check, tensor_list
from genfuse.ops.library import LIBRARY, any_needs_dispatcher, define, fake
from genfuse_kernels.clip_grad_norm.spec import norm_dtype


@torch.no_grad()
def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    *,
    are_gradients: bool = False,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale the parameters' gradients, in place, so that the Euclidean norm of all together is at most max_norm.

    parameters           tensors whose `.grad` is meant; those that have none are passed over
    max_norm             at least 0; infinity takes the norm alone
    are_gradients        the tensors given are themselves the gradients (`torch.autograd.grad` returns such)
    error_if_nonfinite   RuntimeError, with nothing changed, where the norm is infinite or NaN; else it scales by 0
                         or NaN, as `torch.nn.utils.clip_grad_norm_` does

    Gradients are float32, float64, bfloat16 or float16 in any mix, of any strides; each once, and none overlapping
    another one's stretch of memory. Returns the norm before scaling, (), float64 where a gradient is, else float32: 0
    where there are none. Squares are added in float64: gradients of 1e30 and of 1e-30 have the norm they should. It is
    read once; only where the norm is too large, all are read and written again.

    As `torch.nn.utils.clip_grad_norm_` (Pascanu et al. 2013), for the 2-norm alone; complex gradients are refused, and
    one that is given twice. TypeError or ValueError, naming the gradient, before anything is changed.
    """
    check.flag("are_gradients", are_gradients)
    check.flag("error_if_nonfinite", error_if_nonfinite)
    gradients = _gradients(parameters, are_gradients)
    max_norm = check.as_float("max_norm", max_norm)
    if not max_norm >= 0:
        raise ValueError(f"max_norm is {max_norm}, expected 0 or more")
    direct = tensor_list.directly("clip_grad_norm", (gradients,), max_norm, error_if_nonfinite)
    if direct is not None:
        return _finite(torch.tensor(direct, dtype=torch.float32, device="cpu"), error_if_nonfinite)
    tensor_list.check_each("parameters" if are_gradients else "gradients", gradients)
    if not any_needs_dispatcher(gradients):
        return _clip_grad_norm(gradients, max_norm, error_if_nonfinite)
    tensor_list.refuse_negatives("gradients", gradients)
    norm: Tensor = torch.ops.genfuse.clip_grad_norm(gradients, max_norm, error_if_nonfinite)
    return norm


def _gradients(parameters: Tensor | Iterable[Tensor], are_gradients: bool) -> list[Tensor]:
    owners = tensor_list.listed("parameters", parameters)
    for place, owner in enumerate(owners):
        if not isinstance(owner, Tensor):
            raise TypeError(f"parameters[{place}] is {type(owner).__name__}, expected a tensor")
    return owners if are_gradients else [owner.grad for owner in owners if owner.grad is not None]


def _finite(norm: Tensor, demanded: bool) -> Tensor:
    """The norm; RuntimeError where it is not finite and that is demanded."""
    if demanded and not math.isfinite(norm.item()):
        raise RuntimeError(
            f"the norm of gradients is {norm.item()}, expected a finite one: they are as they were; with "
            "error_if_nonfinite=False they are scaled all the same"
        )
    return norm


define("clip_grad_norm(Tensor(a!)[] gradients, float max_norm, bool error_if_nonfinite) -> Tensor")


@torch.library.impl(LIBRARY, "clip_grad_norm", "CompositeExplicitAutograd")
def _clip_grad_norm(gradients: list[Tensor], max_norm: float, error_if_nonfinite: bool) -> Tensor:
    if not gradients:
        return torch.zeros((), device="cpu")
    first, limits = gradients[0], tensor_list.limits(gradients)
    launch = dispatch.select("clip_grad_norm", first.device, first.dtype, limits=limits)
    tensor_list.begin_change({"gradients": gradients}, "gradients")
    norm = torch.empty((), dtype=norm_dtype(gradients), device=first.device)
    launch(norm, gradients, max_norm, error_if_nonfinite)
    return _finite(norm, error_if_nonfinite)


@fake("clip_grad_norm")
def _fake(gradients: list[Tensor], max_norm: float, error_if_nonfinite: bool) -> Tensor:
    if not gradients:
        return torch.zeros((), device="cpu")
    return gradients[0].new_empty((), dtype=norm_dtype(gradients))

"""The `torch.library` namespace that genfuse's ops are registered in, and when a call must go through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import torch
from torch import Tensor, is_grad_enabled
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.nn import Parameter

from genfuse.dispatch import Backend

LIBRARY = torch.library.Library("genfuse", "DEF")
"""`Library.define` costs 1.4 µs a call where the `custom_op` decorator costs 10."""

# Asked before every step: without the way through PyTorch's modules that is a fifth of a microsecond less.
_dispatch_modes = torch._C._len_torch_dispatch_stack
_transforms = torch._C._functorch.peek_interpreter_stack

OURS: tuple[Backend, ...] = ("cpu", "triton", "cuda")
"""Whose kernels have gradients."""

PLAIN = frozenset((Tensor, Parameter))
"""Types of tensors that are nothing more than that."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def define(schema: str) -> None:
    """An op of genfuse's namespace, by its schema."""
    LIBRARY.define(schema)


def fake(name: str) -> Callable[[_Function], _Function]:
    """Decorator: what the op gives for tensors without values."""
    register: Callable[[_Function], _Function] = torch.library.register_fake(f"genfuse::{name}", lib=LIBRARY)
    return register


def needs_dispatcher(*tensors: Tensor | None) -> bool:
    """Whether PyTorch has to see the call: gradients, tangents, torch.compile, torch.func, fake or subclassed tensors.

    And views whose values are not those in memory: PyTorch resolves negated ones on the way. Everything else
    goes straight to the kernel.
    """
    if is_compiling() or _dispatch_modes() > 0 or _transforms() is not None or forward_ad._current_level >= 0:
        return True
    grad = is_grad_enabled()
    for tensor in tensors:
        if tensor is None:
            continue
        if type(tensor) is not Tensor and type(tensor) is not Parameter:
            return True
        if tensor.is_neg() or (grad and tensor.requires_grad):
            return True
    return False


def any_needs_dispatcher(tensors: Sequence[Tensor]) -> bool:
    """`needs_dispatcher` of a long list, without a loop."""
    if is_compiling() or _dispatch_modes() > 0 or _transforms() is not None or forward_ad._current_level >= 0:
        return True
    if not PLAIN.issuperset(map(type, tensors)) or any(map(Tensor.is_neg, tensors)):
        return True
    return is_grad_enabled() and any(map(attrgetter("requires_grad"), tensors))


def only_recorded(*tensors: Tensor | None) -> bool:
    """Of a call that `needs_dispatcher`: whether it is for its gradients alone, of plain tensors."""
    if is_compiling() or _dispatch_modes() > 0 or _transforms() is not None or forward_ad._current_level >= 0:
        return False
    return are_plain(*tensors)


def are_plain(*tensors: Tensor | None) -> bool:
    """Whether the values of all that there are lie in memory as they are: no subclasses, no negated views."""
    return all(tensor is None or (type(tensor) in PLAIN and not tensor.is_neg()) for tensor in tensors)


def needs_gradient(*tensors: Any) -> bool:
    """Whether autograd has to record what is made of these tensors, or to carry their tangents along."""
    given = [tensor for tensor in tensors if isinstance(tensor, Tensor)]
    if is_grad_enabled() and any(tensor.requires_grad for tensor in given):
        return True
    return has_tangent(*given)


def is_transformed() -> bool:
    """Whether the call is inside a transform of torch.func."""
    return _transforms() is not None


def gradient_limits(*tensors: Tensor | None) -> dict[Backend, str]:
    """Why backends of ours do not run a call on these tensors where it needs gradients, whatever its op."""
    tangents = forward_ad._current_level >= 0 and has_tangent(*(each for each in tensors if each is not None))
    if tangents or is_transformed():
        why = "torch.func transforms and forward-mode derivatives need PyTorch's own kernels"
        return dict.fromkeys(OURS, why)
    return {}


def has_tangent(*tensors: Tensor) -> bool:
    """Whether one of the tensors is a dual number of forward-mode differentiation."""
    if forward_ad._current_level < 0:
        return False
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)

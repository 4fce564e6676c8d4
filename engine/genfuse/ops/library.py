"""The `torch.library` namespace that genfuse's ops are registered in, and when a call must go through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

LIBRARY = torch.library.Library("genfuse", "DEF")
"""`Library.define` costs 1.4 µs a call where the `custom_op` decorator costs 10."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def define(schema: str) -> None:
    """An op of genfuse's namespace, by its schema."""
    LIBRARY.define(schema)


def fake(name: str) -> Callable[[_Function], _Function]:
    """Decorator: what the op gives for tensors without values."""
    register: Callable[[_Function], _Function] = torch.library.register_fake(f"genfuse::{name}", lib=LIBRARY)
    return register


def needs_dispatcher(*tensors: Tensor | None) -> bool:
    """Whether PyTorch has to see the call: gradients, torch.compile, torch.func, fake or subclassed tensors.

    Everything else goes straight to the kernel.
    """
    if torch.compiler.is_compiling():
        return True
    if torch._C._len_torch_dispatch_stack() > 0 or torch._C._functorch.peek_interpreter_stack() is not None:
        return True
    grad = torch.is_grad_enabled()
    for tensor in tensors:
        if tensor is None:
            continue
        if type(tensor) is not Tensor and type(tensor) is not torch.nn.Parameter:
            return True
        if grad and tensor.requires_grad:
            return True
    return False

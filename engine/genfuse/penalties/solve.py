"""How a penalty is computed: by tangents, or as the caller falls back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.errors import UnsupportedError
from genfuse.penalties.checks import Fallback
from genfuse.penalties.double_backward import by_double_backward
from genfuse.penalties.one_pass import by_tangents
from genfuse.penalties.problem import Problem


def solved(problem: Problem, fallback: Fallback | None) -> tuple[Tensor, Tensor]:
    """The penalty (), with a graph behind it, and the norms (N,). torch.compile breaks its graph around the call."""
    if torch.compiler.is_compiling():
        eagerly: Callable[..., tuple[Tensor, Tensor]] = torch.compiler.disable(solved)
        return eagerly(problem, fallback)
    _check_backend()
    if fallback is None:
        return by_tangents(problem)
    try:
        return by_tangents(problem)
    except UnsupportedError:
        return by_double_backward(problem)


def _check_backend() -> None:
    """Both ways are PyTorch's kernels."""
    forced = dispatch.forced()
    if forced not in (None, "aten") or (forced is None and dispatch.is_strict()):
        asked = f"backend {forced!r} is forced" if forced else "strict mode forbids PyTorch's own kernels"
        raise UnsupportedError(f"{asked}, expected 'aten', which alone has tangents yet")

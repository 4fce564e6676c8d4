"""How a penalty is computed: by tangents, or as the caller falls back."""

from __future__ import annotations

from torch import Tensor

from genfuse import dispatch
from genfuse.errors import UnsupportedError
from genfuse.ops.library import OURS
from genfuse.penalties.checks import Fallback
from genfuse.penalties.double_backward import by_double_backward
from genfuse.penalties.one_pass import by_tangents
from genfuse.penalties.problem import Problem


def solved(problem: Problem, fallback: Fallback | None) -> tuple[Tensor, Tensor]:
    """The penalty (), with a graph behind it, and the norms (N,)."""
    forced = dispatch.forced()
    if forced not in (None, "aten", *OURS):
        raise UnsupportedError(f"backend {forced!r} is forced, expected 'aten' or one of {', '.join(OURS)}")
    if fallback is None or forced in OURS or (forced is None and dispatch.is_strict()):
        return by_tangents(problem)  # double backward is PyTorch's kernels
    try:
        return by_tangents(problem)
    except UnsupportedError:
        return by_double_backward(problem)

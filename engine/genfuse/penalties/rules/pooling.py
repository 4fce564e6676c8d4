"""Tangents of pooling: averages are linear, that of a maximum is the tangent at its place."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from genfuse.penalties.rules.rule import Called, Dual, rule


@rule(*(f"{kind}avg_pool{axes}d" for kind in ("", "adaptive_") for axes in (1, 2, 3)))
def average(called: Called, input: Dual, *rest: Any, **named: Any) -> Tensor:
    found: Tensor = called.function(input.tangent, *rest, **named)
    return found


_AXES = {getattr(F, f"{kind}max_pool{axes}d"): axes for kind in ("", "adaptive_") for axes in (1, 2, 3)}
"""Axes of space, by function."""


@rule(*_AXES, inputs="constant")
def maximum(called: Called, input: Dual, *rest: Any, **named: Any) -> Tensor:
    named["return_indices"] = True
    _, places = called.function(input.primal, *rest, **named)
    first = input.tangent.ndim - _AXES[called.function]
    return input.tangent.flatten(first).gather(first, places.flatten(first)).view_as(places)

"""Tangents of resampling by fixed weights: linear."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.errors import UnsupportedError
from genfuse.penalties.rules.rule import Called, Dual, rule


@rule(F.interpolate)
def interpolate(called: Called, input: Dual, *rest: Any, **named: Any) -> Tensor:
    return F.interpolate(input.tangent, *rest, **named)


@rule(torch.ops.genfuse.upfirdn2d)
def upfirdn2d(called: Called, x: Any, f: Any, *rest: Any) -> Tensor:
    if isinstance(f, Dual):
        raise UnsupportedError("upfirdn2d's filter depends on the point, expected a constant one")
    found: Tensor = torch.ops.genfuse.upfirdn2d(x.tangent, f, *rest)
    return found


@rule(F.grid_sample)
def grid_sample(called: Called, input: Any, grid: Any, *rest: Any, **named: Any) -> Tensor:
    if isinstance(grid, Dual):
        raise UnsupportedError("grid_sample's grid depends on the point, expected a constant one")
    return F.grid_sample(input.tangent, grid, *rest, **named)

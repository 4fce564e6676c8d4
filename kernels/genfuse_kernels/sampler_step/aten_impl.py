"""`sampler_step` by PyTorch's own kernels: the reference, in float32 (float64 where x is)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from genfuse_kernels.sampler_step import reference
from genfuse_kernels.sampler_step.row import COLUMN


def sampler_step(
    out: Tensor,
    stored: Tensor | None,
    x: Tensor,
    model_output: Tensor | None,
    table: Tensor,
    index: int | Tensor,
    *,
    history: Tensor | None,
    **inputs: Any,
) -> None:
    """Write the step into `out`, and what is stored into `stored` or its history slot; see `spec`."""
    host = table.detach().to("cpu", torch.float64)
    rows = torch.as_tensor(index, dtype=torch.int64, device="cpu").reshape(-1).expand(x.shape[0]).tolist()
    for row in set(rows):
        check_finite(host[row], row)
        slot = int(host[row, COLUMN["store"]])
        if stored is None and history is not None and slot >= history.shape[0]:
            raise ValueError(
                f"history has {history.shape[0]} slots, but table row {row} stores to slot {slot}"
            )
    y, s = reference.sampler_step(
        x, model_output, host, index, history=() if history is None else history, **inputs
    )
    out.copy_(y)
    if stored is not None:
        stored.copy_(s)
    elif history is not None:
        for n, row in enumerate(rows):
            slot = int(host[row, COLUMN["store"]])
            if slot >= 0:
                history[slot, n].copy_(s[n])


def check_finite(row: Tensor, index: int) -> None:
    """ValueError for a coefficient that is NaN, or infinite and no bound of x0."""
    for name, column in COLUMN.items():
        value = float(row[column])
        if math.isnan(value) or (math.isinf(value) and name not in ("clip_min", "clip_max", "threshold_max")):
            raise ValueError(f"table row {index}, column {name!r} is {value}, expected a finite number")

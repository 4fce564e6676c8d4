"""`sampler_step` by PyTorch's own kernels: the reference, in float32 (float64 where x is)."""

from __future__ import annotations

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
    y, s = reference.sampler_step(
        x, model_output, host, index, history=() if history is None else history, **inputs
    )
    out.copy_(y)
    if stored is not None:
        stored.copy_(s)
    elif history is not None:
        rows = torch.as_tensor(index, dtype=torch.int64).reshape(-1).expand(x.shape[0]).tolist()
        for n, row in enumerate(rows):
            slot = int(host[row, COLUMN["store"]])
            if slot >= 0:
                history[slot, n].copy_(s[n])

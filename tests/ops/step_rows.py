"""A table and inputs that use every part of a step, for the tests of the op layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfuse_kernels.sampler_step.row import COLUMN, ROW, TERMS

QUIET, LINEAR, CLIP, THRESHOLD, LEARNED = range(5)  # the first row has no noise: it has none before it either
ROWS = {"quiet": QUIET, "linear": LINEAR, "clip": CLIP, "threshold": THRESHOLD, "learned": LEARNED}


def table(dtype: torch.dtype = torch.float64) -> Tensor:
    """(5, 32): every coefficient live, and on top of that what the row's name says; QUIET has no noise."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.zeros(len(ROWS), ROW, dtype=torch.float64)
    terms = [COLUMN[f"{output}_{term}"] for output in "ys" for term in TERMS]
    rows[:, terms] = 0.3 + torch.rand(len(ROWS), len(terms), generator=generator, dtype=torch.float64)
    rows[:, COLUMN["x0_x"]], rows[:, COLUMN["x0_m"]] = 1.3, -0.9
    rows[:, COLUMN["clip_min"]], rows[:, COLUMN["clip_max"]] = -torch.inf, torch.inf
    rows[:, COLUMN["guidance"]] = 1.7
    rows[:, COLUMN["store"]] = 2
    rows[CLIP, COLUMN["clip_min"]], rows[CLIP, COLUMN["clip_max"]] = -0.6, 0.8
    rows[THRESHOLD, COLUMN["quantile"]], rows[THRESHOLD, COLUMN["threshold_max"]] = 0.7, 1.8
    rows[THRESHOLD, COLUMN["rescale"]] = 0.6
    rows[LEARNED, COLUMN["log_std"]], rows[LEARNED, COLUMN["log_std_v"]] = -0.2, 0.4
    rows[QUIET, [COLUMN[f"{output}_{term}"] for output in "ys" for term in ("noise", "noise_prev")]] = 0
    return rows.to(dtype)


def inputs(
    shape: tuple[int, ...] = (3, 2, 5), dtype: torch.dtype = torch.float64, **changes: Any
) -> dict[str, Any]:
    """Every argument of `sampler_step` but the table and the index."""
    generator = torch.Generator().manual_seed(7)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)

    names = ("x", "model_output", "uncond", "variance", "noise", "noise_prev")
    arguments: dict[str, Any] = {name: normal(*shape) for name in names}
    arguments["history"] = normal(4, *shape)
    arguments["scales"] = (1.2 + torch.rand(shape[0], 2, generator=generator, dtype=torch.float64)).to(
        dtype if dtype == torch.float64 else torch.float32
    )
    return arguments | changes

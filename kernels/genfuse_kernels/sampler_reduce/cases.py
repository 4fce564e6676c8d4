"""Generated calls of `sampler_reduce`: guidance, rescale and threshold, any layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short
from genfuse_kernels.common.guarded import LAYOUTS, laid_out
from genfuse_kernels.sampler_reduce import reference, spec
from genfuse_kernels.sampler_step.cases import row

SHAPES = ((2, 3, 5, 7), (2, 9), (1, 3, 64, 40), (3, 2, 8, 8))


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """A row a sample every other time."""
    rng = np.random.default_rng([16, seed])
    shape = SHAPES[seed % len(SHAPES)]
    table = torch.cat([_random_row(rng) for _ in range(3)])

    def image() -> torch.Tensor:
        values = torch.from_numpy(rng.standard_normal(shape)).to(dtype)
        return laid_out(values, LAYOUTS[rng.integers(len(LAYOUTS))])

    x, model_output, uncond = image(), image(), image() if rng.random() < 0.7 else None
    index = torch.from_numpy(rng.integers(0, 3, shape[0])) if seed % 2 else int(rng.integers(3))
    wide = None if uncond is None else uncond.double()
    want = reference.sampler_reduce(x.double(), model_output.double(), table, index, uncond=wide)
    of_scales = torch.float64 if dtype == torch.float64 else torch.float32
    allowed = spec.tolerance(dtype, x[0].numel()) * want.abs()
    scales = output("scales", want, allowed, of_scales)
    arguments: dict[str, Any] = {
        "scales": scales.tensor,
        "x": x,
        "model_output": model_output,
        "table": table,
    }
    arguments |= {"index": index, "uncond": uncond}
    return cases.Case(f"{shape} {short(dtype)}", arguments, [scales], [x, model_output])


def _random_row(rng: np.random.Generator) -> torch.Tensor:
    return row(
        x0_x=rng.normal(),
        x0_m=rng.normal(),
        guidance=float(rng.choice([1.0, 0.0, 7.5])),
        rescale=float(rng.choice([0.0, 0.7])),
        quantile=float(rng.choice([0.0, 0.95, 1.0])),
        threshold_max=100.0,
    )

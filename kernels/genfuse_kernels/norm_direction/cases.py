"""Generated calls of `norm_direction`: any strides, tiny and huge numbers, samples of zeros."""

from __future__ import annotations

import numpy as np
import torch

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short
from genfuse_kernels.common.guarded import LAYOUTS, laid_out
from genfuse_kernels.norm_direction import reference, spec

SHAPES = ((1, 1), (3, 5), (2, 3, 7, 9), (4, 17, 6, 8), (2, 0), (3, 1030))


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """Directions are dense, as the op makes them."""
    rng = np.random.default_rng([13, seed])
    shape = SHAPES[seed % len(SHAPES)]
    size = float(rng.choice([1.0, 1e4] if dtype == torch.float16 else [1.0, 1e30, 1e-30]))
    values = torch.from_numpy(rng.standard_normal(shape) * size)
    if rng.random() < 0.3:
        values[0] = 0
    x = laid_out(values.to(dtype), LAYOUTS[rng.integers(len(LAYOUTS))])
    norms, direction = reference.norm_direction(x.double())
    tolerance = spec.tolerance()
    least = torch.finfo(torch.float32).tiny
    outputs = [
        output("norms", norms, tolerance * norms + least, torch.float32),
        output("direction", direction, tolerance * direction.abs() + least, torch.float32),
    ]
    arguments = {made.name: made.tensor for made in outputs} | {"x": x}
    return cases.Case(f"{shape} {short(dtype)}, about {size}", arguments, outputs, [x])

"""Generated calls of `philox_normal`: any shape and layout, a row for all or one a sample."""

from __future__ import annotations

import numpy as np
import torch

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short
from genfuse_kernels.common.guarded import LAYOUTS
from genfuse_kernels.philox_normal import reference, spec

SHAPES = ((1, 1), (3, 5), (2, 3, 7, 9), (2, 4, 16, 16), (5,), (2, 8, 12), (0, 3, 4, 4), (1, 2, 3, 5, 7))


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """Any seeds, rows and streams."""
    rng = np.random.default_rng([15, seed])
    shape = SHAPES[seed % len(SHAPES)]
    seeds = torch.from_numpy(rng.integers(-(2**63), 2**63 - 1, shape[0]))
    rows = torch.from_numpy(rng.integers(0, 2**32, shape[0]))
    row = rows if rng.random() < 0.5 else int(rng.integers(2**32))
    stream = int(rng.integers(0, 9))
    want = reference.philox_normal(seeds, shape, row, stream)
    allowed = spec.tolerance(dtype) * want.abs().clamp(min=1)
    out = output("out", want, allowed, dtype, LAYOUTS[rng.integers(len(LAYOUTS))])
    arguments = {"out": out.tensor, "seeds": seeds, "row": row, "stream": stream}
    return cases.Case(f"{shape} {short(dtype)}", arguments, [out], [])

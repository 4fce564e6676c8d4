"""Generated calls of `clip_weights`: lists of tensors of every size, layout and dtype."""

from __future__ import annotations

import numpy as np
import torch

from genfuse_kernels.clip_weights import spec
from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import Output, short
from genfuse_kernels.common.list_cases import tensors


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """To the bit, of extreme numbers too."""
    rng = np.random.default_rng([10, seed])
    parameters = tensors(rng, spec.DTYPES if seed % 2 else [dtype], extreme=seed % 3 == 0)
    bound = float(rng.choice([0.01, 0.5, 0.0]))
    exact = torch.zeros((), dtype=torch.float64)
    outputs = [Output(f"parameters[{i}]", p, p.clamp(-bound, bound), exact) for i, p in enumerate(parameters)]
    arguments = {"parameters": parameters, "bound": bound}
    return cases.Case(f"{len(parameters)} parameters, {short(dtype)}, bound {bound}", arguments, outputs)

"""Generated calls of `leaky_relu_tangent`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short
from genfuse_kernels.leaky_relu_tangent import reference, spec

SHAPES = ((3,), (0, 4), (2, 3, 5), (2, 17, 6, 7), (70, 250))


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """Dense tensors, alike."""
    rng = np.random.default_rng([12, seed])
    shape = SHAPES[seed % len(SHAPES)]
    tangent = torch.from_numpy(rng.standard_normal(shape)).to(dtype)
    mask = torch.from_numpy(rng.random(shape) < 0.5)
    slopes = float(rng.choice([0.2, 0.0, -0.3])), float(rng.choice([1.0, 2**0.5]))
    want = reference.leaky_relu_tangent(tangent.double(), mask, *slopes)
    out = output("out", want, spec.tolerance(dtype) * want.abs() + spec.least(dtype), dtype)
    arguments: dict[str, Any] = {"out": out.tensor, "tangent": tangent, "mask": mask}
    arguments |= {"negative_slope": slopes[0], "positive_slope": slopes[1]}
    return cases.Case(f"{shape} {short(dtype)}, slopes {slopes}", arguments, [out])

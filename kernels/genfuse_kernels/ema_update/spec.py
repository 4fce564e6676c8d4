"""The contract of `ema_update` (Polyak & Juditsky 1992; as an exponential average: Ho et al. 2020, appendix B).

    launch(averages, parameters, decay)

For each i, element by element and in place:

    averages[i] = decay·averages[i] + (1 − decay)·parameters[i]

    averages      tensors, any strides, none overlapping another in memory
    parameters    of the averages' shapes
    dtypes        float32 | bfloat16 | float16 on either side in any mix, or float64 on both (arithmetic in float32, or
                  float64); on `aten` any mix
    decay         in [0, 1]

It is computed as `torch.lerp` does, from the nearer end, average + (1 − decay)·(parameter − average) where decay is
above ½, else parameter − decay·(parameter − average): what is equal stays as it is, and where PyTorch is not finite,
neither is this.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def tolerance(average: Tensor, parameter: Tensor) -> Tensor:
    """Largest error against the float64 reference, element by element, from the values before the update.

    Weight, difference, product and sum are each rounded in the arithmetic's dtype, on terms of at most 2·max(|a|, |p|)
    with a weight of at most ½: 5 roundings. The result is rounded once more to the average's dtype, which below its
    smallest normal number errs by half of its smallest number.
    """
    arithmetic = torch.float64 if average.dtype == torch.float64 else torch.float32
    largest = torch.maximum(average.double().abs(), parameter.double().abs())
    smallest = torch.finfo(average.dtype).smallest_normal * torch.finfo(average.dtype).eps
    relative = 5 * UNIT_ROUNDOFF[arithmetic] + UNIT_ROUNDOFF[average.dtype]
    return relative * largest + smallest


def bytes_moved(averages: Iterable[Tensor], parameters: Iterable[Tensor]) -> int:
    """Averages are read and written once, parameters read once."""
    return 2 * sum(t.nbytes for t in averages) + sum(t.nbytes for t in parameters)

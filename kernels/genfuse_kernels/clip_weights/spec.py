"""The contract of `clip_weights` (WGAN's: Arjovsky et al. 2017, algorithm 1).

    launch(parameters, bound)

For each i, element by element and in place:

    parameters[i] = min(max(parameters[i], −bound), bound),    NaN where it is NaN

    parameters    tensors, any strides, none overlapping another in memory;
                  float32 | float64 | bfloat16 | float16 in any mix
    bound         at least 0

Nothing is rounded but the bound, to the parameter's dtype: results are those of `torch.clamp`, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def bytes_moved(parameters: Iterable[Tensor]) -> int:
    """Each parameter is read once and written once."""
    return 2 * sum(t.nbytes for t in parameters)

"""The contract of `clip_grad_norm` (Pascanu et al. 2013, algorithm 1; ε and the rest are `torch.nn.utils`').

    launch(norm, gradients, max_norm, only_finite)

    norm = √(Σ of the squares of all elements of all gradients),   rounded to norm's dtype
    gradients[i] = gradients[i]·c   in place,   c = max_norm / (norm + 1e-6),   unless c ≥ 1

Where the norm is not finite, c is 0 or NaN: the gradients are scaled by it as PyTorch's are, or, with only_finite, left
as they are.

    norm         (), float64 where one of the gradients is, else float32; on the first one's device
    gradients    tensors, any strides, none overlapping another in memory;
                 float32 | float64 | bfloat16 | float16 in any mix
    max_norm     at least 0; infinity takes the norm and changes nothing

Squares are added in float64, where those of float32 can neither overflow nor vanish, in an order that depends on sizes
and strides alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
EPSILON = 1e-6
TILE = 16384
"""Elements whose squares are summed one by one; then the sums of tiles are."""


def norm_dtype(gradients: Iterable[Tensor]) -> torch.dtype:
    """Of the norm."""
    return torch.float64 if any(g.dtype == torch.float64 for g in gradients) else torch.float32


def norm_tolerance(norm: Tensor, elements: int) -> float:
    """Largest error of a norm: each term meets at most a tile's sums and the tiles', and the root is rounded once."""
    return _relative_error(norm.dtype, elements) * float(norm) + _smallest(norm.dtype)


def tolerance(scaled: Tensor, norm_dtype: torch.dtype, elements: int) -> Tensor:
    """Largest error of scaled gradients: norm, coefficient, product and what is stored are rounded."""
    arithmetic = torch.float64 if scaled.dtype == torch.float64 else torch.float32
    rounded = 3 * UNIT_ROUNDOFF[arithmetic] + UNIT_ROUNDOFF[scaled.dtype]
    relative = _relative_error(norm_dtype, elements) + rounded
    return relative * scaled.double().abs() + _smallest(scaled.dtype)


def _relative_error(norm_dtype: torch.dtype, elements: int) -> float:
    additions = min(elements, TILE) + elements // TILE + 1
    return UNIT_ROUNDOFF[norm_dtype] + additions * UNIT_ROUNDOFF[torch.float64]


def _smallest(dtype: torch.dtype) -> float:
    """Below the smallest normal number rounding errs by half of the smallest number, whatever is rounded."""
    return torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps


def bytes_moved(gradients: Iterable[Tensor], clipped: bool) -> int:
    """Each gradient is read once; where the norm is too large, it is read and written once more."""
    return (3 if clipped else 1) * sum(t.nbytes for t in gradients)

"""Lists of tensors for the ops that change them in place: sizes, strides and values of all kinds, in guarded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common.guarded import LAYOUTS, laid_out

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SINGLE = tuple(dtype for dtype in DTYPES if dtype != torch.float64)
SHAPES = (
    (),
    (0,),
    (1,),
    (3,),
    (17, 5),
    (4, 0, 2),
    (3, 5, 7, 2),
    (8, 4, 3, 3),
    (1, 1, 33),
    (70, 250),
    (5, 3, 3, 37, 11),
)
"""The last two are more than a tile of the C++ kernels where the tests shrink nothing: 17 500 and 18 315 elements."""


def values(
    rng: np.random.Generator, shape: Sequence[int], dtype: torch.dtype, extreme: bool = False
) -> Tensor:
    """Normal numbers, or such between the dtype's smallest and largest that their differences are finite."""
    numbers = torch.from_numpy(np.asarray(rng.standard_normal(tuple(shape))))
    if extreme:
        info = torch.finfo(torch.float32 if dtype == torch.bfloat16 else dtype)
        low, high = np.log2(info.smallest_normal * info.eps), np.log2(info.max) - 4
        numbers = numbers.sign() * torch.from_numpy(np.asarray(2 ** rng.uniform(low, high, tuple(shape))))
    return numbers.to(dtype)


def tensors(
    rng: np.random.Generator,
    dtypes: Sequence[torch.dtype],
    shapes: Sequence[Sequence[int]] = SHAPES,
    extreme: bool = False,
) -> list[Tensor]:
    """One tensor a shape, each of a random dtype and layout, between NaN that is not to be touched."""
    return [
        laid_out(
            values(rng, shape, dtypes[int(rng.integers(len(dtypes)))], extreme),
            LAYOUTS[rng.integers(len(LAYOUTS))],
        )
        for shape in shapes
    ]


def like(
    rng: np.random.Generator, other: Tensor, dtypes: Sequence[torch.dtype], extreme: bool = False
) -> Tensor:
    """A tensor of the same shape: float64 where the other is; half of the time of the same strides."""
    wide = other.dtype == torch.float64
    dtype = torch.float64 if wide else dtypes[int(rng.integers(len(dtypes)))]
    numbers = values(rng, other.shape, dtype, extreme)
    if rng.random() < 0.5:
        return torch.empty_like(other, dtype=dtype).copy_(numbers)
    return laid_out(numbers, LAYOUTS[rng.integers(len(LAYOUTS))])

"""Generated calls of `philox_lerp`: any layouts, in any mix; start or end absent; extreme values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short
from genfuse_kernels.common.guarded import LAYOUTS, laid_out
from genfuse_kernels.philox_lerp import reference, spec

SHAPES = (
    (1, 1),
    (5,),
    (9, 2),
    (2, 3, 7, 9),
    (3, 4, 16, 16),
    (2, 17, 12),
    (0, 3, 4, 4),
    (2, 0),
    (1, 2, 3, 5, 7),
)
_LARGEST = {torch.float16: 6e4, torch.bfloat16: 3e38, torch.float32: 3e38, torch.float64: 1.7e308}


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """Any seed and first sample; half of the calls in one layout."""
    rng = np.random.default_rng([17, seed])
    shape = SHAPES[rng.integers(len(SHAPES))]
    size = float(rng.choice([1.0, 1.0, 1e-6, _LARGEST[dtype]]))
    layouts = [str(LAYOUTS[rng.integers(len(LAYOUTS))]) for _ in range(3)]
    if rng.random() < 0.5:
        layouts = layouts[:1] * 3
    absent = int(rng.choice([-1, -1, -1, 0, 1]))
    start, end = (
        laid_out(torch.from_numpy(np.clip(rng.standard_normal(shape), -1, 1) * size).to(dtype), layout)
        for layout in layouts[1:]
    )
    given = None if absent == 0 else start, None if absent == 1 else end
    key, first = int(rng.integers(2**63 - 1)), int(rng.choice([0, 7, 2**32 - shape[0]]))
    want, allowed = expected(*given, key, first)
    out = output("out", want, allowed, dtype, layouts[0])
    arguments: dict[str, Any] = {"out": out.tensor, "start": given[0], "end": given[1]}
    arguments |= {"seed": key, "first": first}
    name = f"{shape} {short(dtype)} {', '.join(layouts)}, up to {size:g}, {('', 'no start', 'no end')[absent + 1]}"
    return cases.Case(name, arguments, [out], [each for each in given if each is not None])


def expected(start: Tensor | None, end: Tensor | None, seed: int, first: int) -> tuple[Tensor, Tensor]:
    """The definition's result in float64, and what each element may be off by."""
    wide = cases.double(start), cases.double(end)
    sizes = None if start is None else start.double().abs(), None if end is None else end.double().abs()
    want, parts = (reference.philox_lerp(*of, seed, first) for of in (wide, sizes))
    like = start if start is not None else end
    assert like is not None
    return want, spec.allowed(parts, want, like.dtype)

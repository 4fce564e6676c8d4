"""Generated calls of `upfirdn2d`, and what they are held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.upfirdn2d.cases import Options, allowed, defined, generated
from ops.cpu_cases import laid_out

__all__ = ["Options", "defined", "generated", "hold"]


def hold(
    run: Callable[..., Tensor], rng: np.random.Generator, dtype: torch.dtype, layout: str, **sizes: Any
) -> None:
    """One generated call of what returns the result."""
    shape, taps, options = generated(rng, **sizes)
    x = laid_out(torch.from_numpy(rng.standard_normal(shape)).to(dtype), layout)
    f = torch.from_numpy(rng.standard_normal(taps)).float()
    out = run(x, f, **options)
    want, bound = defined(x, f, options)
    assert out.dtype == dtype and out.shape == want.shape
    assert ((out.double() - want).abs() <= allowed(bound, dtype, taps)).all(), (shape, taps, options)

"""Generated calls of `ema_update`: lists of tensors of every size, layout and mix of dtypes."""

from __future__ import annotations

import numpy as np
import torch

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import Output, short
from genfuse_kernels.common.list_cases import SINGLE, like, tensors
from genfuse_kernels.ema_update import reference, spec


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """Averages of `dtype`, the parameters of any that may stand beside it."""
    rng = np.random.default_rng([9, seed])
    averages = tensors(rng, [dtype])
    parameters = [like(rng, average, SINGLE) for average in averages]
    decay = float(rng.choice([0.999, 0.5, 0.25, 0.0, 1.0]))
    outputs = [
        Output(f"averages[{i}]", a, reference.ema_update(a.double(), p.double(), decay), spec.tolerance(a, p))
        for i, (a, p) in enumerate(zip(averages, parameters, strict=True))
    ]
    arguments = {"averages": averages, "parameters": parameters, "decay": decay}
    return cases.Case(f"{len(averages)} averages, {short(dtype)}, decay {decay}", arguments, outputs)

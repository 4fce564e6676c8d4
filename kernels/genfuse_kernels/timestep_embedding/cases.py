"""Generated calls of `timestep_embedding`."""

from __future__ import annotations

import numpy as np
import torch

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short
from genfuse_kernels.timestep_embedding import reference, spec


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """Odd and even numbers of channels, times up to 1,000."""
    rng = np.random.default_rng([14, seed])
    t = torch.from_numpy(rng.uniform(0, 1000, int(rng.integers(0, 20)))).to(dtype)
    channels = int(rng.choice([4, 7, 64, 129]))
    options = {
        "flip_sin_to_cos": bool(rng.random() < 0.5),
        "downscale_freq_shift": float(rng.choice([0.0, 1.0])),
        "scale": float(rng.choice([1.0, 1000.0])),
        "max_period": 10000.0,
    }
    want = reference.timestep_embedding(t.double(), channels, **options)  # type: ignore[arg-type]
    largest = options["scale"] * float(t.double().abs().max() if len(t) else 0.0)
    out = output("out", want, spec.tolerance(dtype, largest), dtype)
    arguments = {"out": out.tensor, "t": t, **options}
    return cases.Case(f"{len(t)} times, {channels} channels, {short(dtype)}", arguments, [out], [t])

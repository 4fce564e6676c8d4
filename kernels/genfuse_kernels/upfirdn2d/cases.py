"""Generated calls of `upfirdn2d`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short, smallest
from genfuse_kernels.common.guarded import laid_out
from genfuse_kernels.upfirdn2d import reference, spec

Options = dict[str, Any]


def generated(
    rng: np.random.Generator, channels: Sequence[int] = (1, 2, 3, 17, 70), largest: int = 24
) -> tuple[tuple[int, ...], tuple[int, ...], Options]:
    """Sizes of x and f, and options that leave an image."""
    while True:
        shape = (
            int(rng.integers(1, 4)),
            int(rng.choice(channels)),
            *rng.integers(1, largest, 2).tolist(),
        )
        taps = (
            tuple(rng.integers(1, 9, 2).tolist())
            if rng.random() < 0.5
            else (int(rng.integers(1, largest + 1)),)
        )
        options: Options = {
            "up": tuple(rng.integers(1, 5, 2).tolist()),
            "down": tuple(rng.integers(1, 5, 2).tolist()),
            "padding": tuple(rng.integers(-4, largest + 1, 4).tolist()),
            "flip_filter": bool(rng.random() < 0.5),
            "gain": float(rng.choice([1.0, 4.0, -0.3])),
        }
        f_size = (taps[0], taps[-1])
        if min(spec.out_size(shape[2:], f_size, options["up"], options["down"], options["padding"])) >= 1:
            return shape, taps, options


def defined(x: Tensor, f: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """The definition in float64, and the same sum of absolute values."""
    up, down, padding, flip_filter, gain = (
        options[name] for name in ("up", "down", "padding", "flip_filter", "gain")
    )
    want = reference.upfirdn2d(x.double(), f.double(), up, down, padding, flip_filter, gain)
    wide = x.double().abs(), f.double().abs()
    return want, reference.upfirdn2d(*wide, up, down, padding, flip_filter, abs(gain))


def allowed(bound: Tensor, dtype: torch.dtype, taps: Sequence[int]) -> Tensor:
    """The error of each element; bound: the sum of absolute values."""
    count = 2 * taps[0] if len(taps) == 1 else taps[0] * taps[1]
    return spec.tolerance(dtype, count) * bound + smallest(dtype)


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """Planar and channels-last images."""
    rng = np.random.default_rng([8, seed])
    shape, taps, options = generated(rng)
    layout = ("contiguous", "channels_last")[int(rng.integers(2))]
    x = laid_out(torch.from_numpy(rng.standard_normal(shape)).to(dtype), layout)
    f = torch.from_numpy(rng.standard_normal(taps)).float()
    want, bound = defined(x, f, options)
    out = output("out", want, allowed(bound, dtype, taps), dtype, layout)
    arguments = {"out": out.tensor, "x": x, "f": f, **options}
    return cases.Case(f"{shape} {short(dtype)}, {taps} {options}", arguments, [out], [x])

"""Generated calls of `upfirdn2d`, and what they are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.upfirdn2d import reference, spec
from ops.cpu_cases import laid_out

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
        options = {
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
    rest = tuple(options[name] for name in ("up", "down", "padding", "flip_filter"))
    want = reference.upfirdn2d(x.double(), f.double(), *rest, options["gain"])
    bound = reference.upfirdn2d(x.double().abs(), f.double().abs(), *rest, abs(options["gain"]))
    return want, bound


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
    count = 2 * taps[0] if len(taps) == 1 else taps[0] * taps[1]
    subnormal = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    allowed = spec.tolerance(dtype, count) * bound + subnormal
    assert ((out.double() - want).abs() <= allowed).all(), (shape, taps, options)

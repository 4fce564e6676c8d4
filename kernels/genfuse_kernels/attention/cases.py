"""Generated calls of `attention`: every layout and size."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.attention import reference, spec
from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short
from genfuse_kernels.common.guarded import laid_out

_LAYOUTS = ("tokens first", "heads first", "channels outside", "sliced")


class Call(NamedTuple):
    """What the op is called with."""

    q: Tensor
    k: Tensor
    v: Tensor
    scale: float


def _heads(rng: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> Tensor:
    values = torch.from_numpy(rng.standard_normal(shape) * 1.5).to(dtype)
    if layout == "tokens first":
        return values.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "channels outside":
        return values.transpose(2, 3).contiguous().transpose(2, 3)
    if layout == "sliced":
        return laid_out(values, "sliced")
    return values


def random_case(rng: np.random.Generator, dtype: torch.dtype, tokens: int = 300, channels: int = 70) -> Call:
    """Every layout and size; every second time few tokens."""
    n, heads = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    queries, keys = (int(rng.integers(1, (20, tokens)[rng.integers(2)])) for _ in range(2))
    d, e = int(rng.integers(1, channels)), int(rng.integers(1, channels))
    q, k, v = (
        _heads(rng, (n, heads, *sizes), dtype, _LAYOUTS[rng.integers(4)])
        for sizes in ((queries, d), (keys, d), (keys, e))
    )
    return Call(q, k, v, float(rng.choice([1 / math.sqrt(d), 1.0])))


def allowed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    dtype: torch.dtype,
    product: torch.dtype | str = torch.float32,
) -> Tensor:
    """The error of each element, of inputs in float64."""
    magnitude = float((q.abs() @ k.abs().transpose(-1, -2)).max()) * abs(scale)
    weights = ((q * scale) @ k.transpose(-1, -2)).softmax(-1)
    return spec.tolerance(dtype, q.shape[3], k.shape[2], magnitude, product) * (weights @ v.abs())


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """At most 80 tokens."""
    call = random_case(np.random.default_rng([4, seed]), dtype, tokens=80)
    q, k, v, scale = call
    wide = q.double(), k.double(), v.double()
    want = reference.attention(*wide, scale)
    out = output("out", want, allowed(*wide, scale, dtype, product), dtype)
    arguments = {"out": out.tensor, "q": q, "k": k, "v": v, "scale": scale}
    return cases.Case(f"{tuple(q.shape)} {k.shape[2]} keys {short(dtype)}", arguments, [out])

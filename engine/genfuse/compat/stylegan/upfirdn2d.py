"""stylegan3's `torch_utils.ops.upfirdn2d`, by `genfuse.ops.upfirdn2d`.

impl: "cuda" lets genfuse choose the kernel, on any device; "ref" runs the op's definition. Either has gradients of any
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.names import check_name
from genfuse.ops.upfirdn2d import (
    Factors,
    axis_factors,
    downsampling_padding,
    four_sides,
    upsampling_padding,
)
from genfuse.ops.upfirdn2d import upfirdn2d as resample
from genfuse_kernels.upfirdn2d.spec import filter_size

_LEAST_SEPARABLE = 8
"""Taps from which on a filter given by one axis is kept so."""


def setup_filter(
    f: Any,
    device: torch.device | str = torch.device("cpu"),  # noqa: B008  # the signature's own default
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1,
    separable: bool | None = None,
) -> Tensor:
    """A float32 filter for the functions below.

    f           tensor, array or list of shape (height, width), (taps,) or (); None: 1
    normalize   divide by the sum
    flip_filter turn over
    gain        of the whole filter
    separable   keep one axis; None: from 8 taps on

    Returns (height, width), or (taps,) where separable. ValueError for other shapes.
    """
    factors = torch.as_tensor(1 if f is None else f, dtype=torch.float32, device=device)
    if factors.ndim > 2 or factors.numel() == 0:
        raise ValueError(f"f has shape {tuple(factors.shape)}, expected (height, width), (taps,) or ()")
    if factors.ndim == 0:
        factors = factors[None]
    if separable is None:
        separable = factors.ndim == 1 and factors.numel() >= _LEAST_SEPARABLE
    if separable and factors.ndim != 1:
        raise ValueError(f"f has shape {tuple(factors.shape)}, expected (taps,): separable is True")
    if factors.ndim == 1 and not separable:
        factors = factors[:, None] * factors
    if normalize:
        factors = factors / factors.sum()
    if flip_filter:
        factors = factors.flip(tuple(range(factors.ndim)))
    return factors * float(gain ** (factors.ndim / 2))


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    up: Factors = 1,
    down: Factors = 1,
    padding: Factors = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> Tensor:
    """`genfuse.ops.upfirdn2d`."""
    check_name("impl", impl, ("ref", "cuda"))
    with dispatch.backend("reference" if impl == "ref" else None):
        return resample(x, f, up, down, padding, flip_filter, gain)


def filter2d(
    x: Tensor,
    f: Tensor | None,
    padding: Factors = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> Tensor:
    """Filtered, as large as x; `padding` adds to that."""
    width, height = _size(f)
    added = (width // 2, (width - 1) // 2, height // 2, (height - 1) // 2)
    return upfirdn2d(x, f, 1, 1, _sum(padding, added), flip_filter, gain, impl)


def upsample2d(
    x: Tensor,
    f: Tensor | None,
    up: Factors = 2,
    padding: Factors = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> Tensor:
    """`up` times as large as x, as bright where the filter's sum is 1; `padding` adds to the result."""
    by = axis_factors("up", up)
    added: list[int] = []
    for taps, factor in zip(_size(f), by, strict=True):
        added += upsampling_padding(taps, factor)
    return upfirdn2d(x, f, by, 1, _sum(padding, added), flip_filter, gain * by[0] * by[1], impl)


def downsample2d(
    x: Tensor,
    f: Tensor | None,
    down: Factors = 2,
    padding: Factors = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> Tensor:
    """Filtered, every down-th pixel; `padding` adds to x."""
    by = axis_factors("down", down)
    added: list[int] = []
    for taps, factor in zip(_size(f), by, strict=True):
        added += downsampling_padding(taps, factor)
    return upfirdn2d(x, f, 1, by, _sum(padding, added), flip_filter, gain, impl)


def _size(f: Tensor | None) -> tuple[int, int]:
    """(width, height)."""
    height, width = (1, 1) if f is None else filter_size(f)
    return width, height


def _sum(padding: Factors, added: Sequence[int]) -> tuple[int, ...]:
    sides = four_sides("padding", padding)
    return tuple(side + more for side, more in zip(sides, added, strict=True))

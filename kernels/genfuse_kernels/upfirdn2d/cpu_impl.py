"""`upfirdn2d` by the C++ kernels: csrc/upfirdn2d."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES
from genfuse_kernels.common.packed_weights import derived
from genfuse_kernels.upfirdn2d.spec import filter_size


def upfirdn2d(
    out: Tensor,
    x: Tensor,
    f: Tensor,
    up: Sequence[int],
    down: Sequence[int],
    padding: Sequence[int],
    flip_filter: bool,
    gain: float,
) -> None:
    """Fill `out`; see `spec`. Shapes, dtypes and devices are the caller's to check."""
    if out.numel() == 0:
        return
    channels_last = not out.is_contiguous()
    x = x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    factors = derived((f,), ("upfirdn2d", flip_filter, gain), lambda: _factors(f, flip_filter, gain))
    _cpu.upfirdn2d(
        DTYPE_CODES[x.dtype],
        torch.get_num_threads(),
        channels_last,
        x.shape[0],
        x.shape[1],
        (x.shape[2], x.shape[3]),
        (out.shape[2], out.shape[3]),
        x.data_ptr(),
        out.data_ptr(),
        factors.data_ptr(),
        filter_size(f),
        f.ndim == 1,
        (up[0], up[1]),
        (down[0], down[1]),
        (padding[0], padding[2]),
    )


def _factors(f: Tensor, flip_filter: bool, gain: float) -> Tensor:
    """`genfuse_upfirdn2d_args.filter` of csrc/upfirdn2d/params.h."""
    factors = f.detach().to(torch.float64)
    if not flip_filter:
        factors = factors.flip(tuple(range(f.ndim)))
    return torch.cat([factors * gain, factors]) if f.ndim == 1 else (factors * gain).contiguous()

"""`philox_lerp` by the C++ kernel: csrc/philox_lerp."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES, view


def philox_lerp(out: Tensor, start: Tensor | None, end: Tensor | None, seed: int, first: int) -> None:
    """Fill `out`; see `spec`. ValueError, with nothing written, for numbers of samples beyond 32 bits."""
    _cpu.philox_lerp(
        DTYPE_CODES[out.dtype],
        tuple(out.shape),
        (out.data_ptr(), out.stride()),
        view(start),
        view(end),
        seed,
        first,
        torch.get_num_threads(),
    )

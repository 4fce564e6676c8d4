"""`sampler_step` by the C++ kernel: csrc/sampler_step."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES, host_table, rows_of, view


def sampler_step(
    out: Tensor,
    stored: Tensor | None,
    x: Tensor,
    model_output: Tensor | None,
    table: Tensor,
    index: int | Tensor,
    *,
    uncond: Tensor | None = None,
    variance: Tensor | None = None,
    history: Tensor | None = None,
    noise: Tensor | None = None,
    noise_prev: Tensor | None = None,
    seeds: Tensor | None = None,
    stream: int = 0,
    scales: Tensor | None = None,
) -> None:
    """Write the step into `out`, and what is stored into `stored` or its history slot; see `spec`.

    Shapes, dtypes and devices are the caller's to check (`genfuse.ops.sampler_step`). ValueError, with nothing
    written, for a row out of range or not finite, and for an absent tensor that a row needs.
    """
    host = host_table(table)
    row, rows = rows_of(index, x.shape[0])
    if seeds is not None:
        seeds = seeds.contiguous()
    if scales is not None:
        scales = scales.contiguous()
    slots: tuple[tuple[int, tuple[int, ...]], ...] = ()
    if history is not None and history.shape[0] > 0:
        strides = history.stride()
        step = strides[0] * history.element_size()
        first = history.data_ptr()
        slots = tuple((first + k * step, strides[1:]) for k in range(history.shape[0]))
    _cpu.sampler_step(
        DTYPE_CODES[x.dtype],
        tuple(x.shape),
        (out.data_ptr(), out.stride()),
        view(stored),
        (x.data_ptr(), x.stride()),
        view(model_output),
        view(uncond),
        view(variance),
        view(noise),
        view(noise_prev),
        slots,
        host.data_ptr(),
        host.shape[0],
        row,
        0 if rows is None else rows.data_ptr(),
        0 if seeds is None else seeds.data_ptr(),
        stream,
        0 if scales is None else scales.data_ptr(),
        torch.get_num_threads(),
    )

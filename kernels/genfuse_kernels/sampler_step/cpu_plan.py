"""Many steps of one table over tensors of one shape: what need not be asked again is settled once.

A small picture's step takes a microsecond; asking every tensor for its shape, strides and pointers through the
general launcher takes ten.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES
from genfuse_kernels.philox_normal.spec import STREAM_STEP


class CpuPlan:
    """Steps of `table` over dense tensors like x on the CPU.

    table    (rows, 32) float64, contiguous; copied
    history  (slots, *x.shape), each slot with x's strides, or None; kept alive here
    """

    def __init__(self, table: Tensor, x: Tensor, history: Tensor | None) -> None:
        self._shape, self._strides, self._dtype = x.shape, x.stride(), x.dtype
        self._bytes = x.numel() * x.element_size()
        self._threads = torch.get_num_threads()
        self._seeds: Tensor | None = None
        self._dense_seeds: Tensor | None = None
        self._history = history
        self._plan = _cpu.Plan(
            table.data_ptr(), table.shape[0], DTYPE_CODES[x.dtype], tuple(x.shape), x.stride(), self._threads
        )
        if history is not None:
            self._plan.set_history(history.data_ptr(), history.shape[0], history.stride(0))

    @staticmethod
    def serves(x: Tensor) -> bool:
        """Whether x is dense, so that its strides say which bytes it covers."""
        return x.is_cpu and (
            x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last))
        )

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor has the plan's shape, strides, dtype and device."""
        return (
            isinstance(tensor, Tensor)
            and tensor.shape == self._shape
            and tensor.dtype is self._dtype
            and tensor.is_cpu
            and tensor.stride() == self._strides
        )

    def disjoint(self, out: Tensor, tensor: Tensor) -> bool:
        """Whether `out` is the tensor itself or shares no byte with it."""
        distance = out.data_ptr() - tensor.data_ptr()
        return distance == 0 or abs(distance) >= self._bytes

    def step(
        self,
        row: int,
        x: Tensor,
        model_output: Tensor,
        out: Tensor,
        seeds: Tensor | None,
        uncond: Tensor | None,
        variance: Tensor | None,
        noise: Tensor | None,
        noise_prev: Tensor | None,
        scales: Tensor | None,
    ) -> None:
        """One row, all tensors as `fits` says. ValueError for a row out of range or a tensor that it lacks."""
        if seeds is not self._seeds:
            self._seeds = seeds
            self._dense_seeds = None if seeds is None else seeds.contiguous()
            self._plan.set_seeds(
                0 if self._dense_seeds is None else self._dense_seeds.data_ptr(), STREAM_STEP
            )
        threads = torch.get_num_threads()
        if threads != self._threads:
            self._threads = threads
            self._plan.set_threads(threads)
        if uncond is variance is noise is noise_prev is scales is None:
            self._plan.step(row, x.data_ptr(), model_output.data_ptr(), out.data_ptr())
            return
        others = (uncond, variance, noise, noise_prev, scales)
        self._plan.step(
            row,
            x.data_ptr(),
            model_output.data_ptr(),
            out.data_ptr(),
            *(0 if tensor is None else tensor.data_ptr() for tensor in others),
        )

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
        self._contiguous = x.is_contiguous()
        self._bytes = x.numel() * x.element_size()
        self._threads = torch.get_num_threads()
        self._seeds: Tensor | None = None
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

    def fits(self, *tensors: Tensor | None) -> bool:
        """Whether all tensors that are there have the plan's shape, strides, dtype and device."""
        for tensor in tensors:
            if tensor is None:
                continue
            # of contiguous tensors of one shape only axes of size 1 differ in stride; asking is 4 times cheaper
            alike = tensor.is_contiguous() if self._contiguous else tensor.stride() == self._strides
            if (
                not alike
                or tensor.shape != self._shape
                or tensor.dtype is not self._dtype
                or not tensor.is_cpu
            ):
                return False
        return True

    def takes(self, seeds: Tensor | None) -> bool:
        """Whether the kernel reads these very seeds since an earlier step, which looked at them."""
        return seeds is self._seeds

    def step(
        self,
        row: int,
        x: Tensor,
        model_output: Tensor,
        out: Tensor,
        seeds: Tensor | None,
        others: tuple[Tensor | None, ...] | None,
        scales: Tensor | None,
    ) -> None:
        """One row; all tensors as `fits` says, others = (uncond, variance, noise, noise_prev).

        ValueError before anything is written for a row out of range, a tensor that it lacks, or an `out` that
        shares part of its memory with an input.
        """
        if seeds is not self._seeds:
            self._set_seeds(seeds)
        threads = torch.get_num_threads()
        if threads != self._threads:
            self._threads = threads
            self._plan.set_threads(threads)
        written, read, output = out.data_ptr(), x.data_ptr(), model_output.data_ptr()
        if 0 < abs(written - read) < self._bytes or 0 < abs(written - output) < self._bytes:
            raise ValueError(_OVERLAP)
        if others is None and scales is None:
            self._plan.step(row, read, output, written)
            return
        pointers = [0 if tensor is None else tensor.data_ptr() for tensor in others or (None,) * 4]
        if any(0 < abs(written - pointer) < self._bytes for pointer in pointers if pointer):
            raise ValueError(_OVERLAP)
        uncond, variance, noise, noise_prev = pointers
        scaling = 0 if scales is None else scales.data_ptr()
        self._plan.step(row, read, output, written, uncond, variance, noise, noise_prev, scaling)

    def _set_seeds(self, seeds: Tensor | None) -> None:
        self._seeds = None if seeds is None else seeds.contiguous()  # itself where it is; else a copy a step
        self._plan.set_seeds(0 if self._seeds is None else self._seeds.data_ptr(), STREAM_STEP)


_OVERLAP = "out overlaps an input in memory without being the same tensor; pass a copy"

"""Runs a table's rows: holds what lives between steps (history, seeds) and calls one kernel a step."""

from __future__ import annotations

import torch
from genfuse_kernels.philox_normal.spec import STREAM_STEP
from genfuse_kernels.sampler_step.row import COLUMN
from torch import Tensor

from genfuse.ops import sampler_reduce, sampler_step_
from genfuse.samplers.table import Table


class Stepper:
    """One trajectory over a table.

    seeds   (N,) int64 on the sample's device, one a sample; None where every step is given its noise or the
            table adds none. May be replaced between steps.
    """

    def __init__(self, table: Table, seeds: Tensor | None = None) -> None:
        self.table = table
        self.seeds = seeds
        self._rows: dict[tuple[torch.device, torch.dtype], Tensor] = {}
        self._history: Tensor | None = None
        self._slots = table.history_slots
        self._reduces = [bool(flag) for flag in (table.rows[:, [COLUMN["rescale"], COLUMN["quantile"]]] != 0).any(1)]

    def reset(self) -> None:
        """Forget what earlier steps stored."""
        self._history = None

    def step(
        self,
        i: int,
        x: Tensor,
        model_output: Tensor,
        *,
        uncond: Tensor | None = None,
        variance: Tensor | None = None,
        noise: Tensor | None = None,
        noise_prev: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Row i of the table applied to x (N, ...); `out` may be x. Errors as `genfuse.ops.sampler_step`."""
        rows = self._device_rows(x)
        scales = None
        if 0 <= i < len(self._reduces) and self._reduces[i]:
            scales = sampler_reduce(x, model_output, rows, i, uncond=uncond)
        history = self._device_history(x)
        if out is None:
            out = torch.empty_like(x)
        sampler_step_(
            x,
            model_output,
            rows,
            i,
            out=out,
            uncond=uncond,
            variance=variance,
            history=history,
            noise=noise,
            noise_prev=noise_prev,
            seeds=self.seeds,
            stream=STREAM_STEP,
            scales=scales,
        )
        return out

    def _device_rows(self, x: Tensor) -> Tensor:
        """The table where the kernel reads it: float64 on the CPU, float32 elsewhere unless x is float64."""
        dtype = torch.float64 if x.device.type == "cpu" or x.dtype == torch.float64 else torch.float32
        rows = self._rows.get((x.device, dtype))
        if rows is None:
            rows = self._rows[x.device, dtype] = self.table.rows.to(x.device, dtype)
        return rows

    def _device_history(self, x: Tensor) -> Tensor | None:
        """(slots, *x.shape) in x's memory format, kept as long as x keeps its shape, dtype and device."""
        if self._slots == 0:
            return None
        kept = self._history
        if kept is None or kept.shape[1:] != x.shape or kept.dtype != x.dtype or kept.device != x.device:
            kept = self._history = _history_like(x, self._slots)
        return kept


def _history_like(x: Tensor, slots: int) -> Tensor:
    """Uninitialised (slots, *x.shape) whose slots have x's memory format; a row never reads before it stores."""
    one = torch.empty_like(x)
    stride = max(x.numel(), 1)
    return torch.empty(slots * stride, dtype=x.dtype, device=x.device).as_strided(
        (slots, *x.shape), (stride, *one.stride())
    )

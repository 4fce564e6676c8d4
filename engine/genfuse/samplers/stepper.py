"""Runs a table's rows: holds what lives between steps (history, seeds) and calls one kernel a step."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from genfuse import dispatch
from genfuse.ops import check, sampler_reduce, sampler_step, sampler_step_
from genfuse.ops.library import needs_dispatcher, needs_gradient
from genfuse.ops.memory import empty_like
from genfuse.ops.sampler_step import refuse_gradient
from genfuse.samplers.table import Table
from genfuse_kernels.philox_normal.spec import STREAM_STEP
from genfuse_kernels.sampler_step.row import COLUMN, HISTORY_SLOTS

if TYPE_CHECKING:
    from genfuse_kernels.sampler_step.cpu_plan import CpuPlan


class Stepper:
    """One trajectory over a table.

    seeds   (N,) int64 on the sample's device, one a sample; None where every step is given its noise or the
            table adds none. May be replaced between steps.
    """

    def __init__(self, table: Table, seeds: Tensor | None = None) -> None:
        self.table = table
        self.seeds = seeds
        self._rows = DeviceRows(table.rows)
        self._history: Tensor | None = None
        self._recorded: dict[int, Tensor] = {}
        """By slot, instead of `_history`, what steps stored of which autograd knows."""
        self._written = 0  # a bit a slot
        self._plan: CpuPlan | None = None
        self._slots = table.history_slots
        reduced = table.rows[:, [COLUMN["rescale"], COLUMN["quantile"]]] != 0
        self._reduces: list[bool] = reduced.any(1).tolist()
        self._reads, self._stores = _slot_bits(table)

    def __getstate__(self) -> dict[str, object]:
        """What a copy starts from: not the plan, which holds addresses, nor autograd's graph."""
        recorded = {slot: tensor.detach() for slot, tensor in self._recorded.items()}
        return {**self.__dict__, "_plan": None, "_recorded": recorded}

    def reset(self) -> None:
        """Forget what earlier steps stored."""
        self._history = self._plan = None
        self._recorded = {}
        self._written = 0

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
        """Row i of the table applied to x (N, ...); `out` may be x. Errors as `genfuse.ops.sampler_step`.

        Differentiable where no `out` is given, through earlier steps too; thresholds and rescale factors are
        constants.
        """
        if not isinstance(x, Tensor):
            check.sample("x", x)
        if type(i) is not int or not 0 <= i < len(self._reads):
            check.row("i", i, len(self._reads))
        try:
            scales = None
            if self._reduces[i]:
                scales = sampler_reduce(x, model_output, self._rows.beside(x), i, uncond=uncond)
            others = None
            if not (uncond is None and variance is None and noise is None and noise_prev is None):
                others = (uncond, variance, noise, noise_prev)
            plan = self._plan_for(x, model_output, out, others)
            if plan is not None:
                if not plan.takes(self.seeds):
                    check.seeds(self.seeds, x.shape[0], x)
                if self._reads[i] & ~self._written:
                    self._refuse(i)
                to = empty_like(x) if out is None else out
                plan.step(i, x, model_output, to, self.seeds, others, scales)
                if out is not None:
                    increment_version(out)
                self._written |= self._stores[i]
                return to
            return self._general_step(i, x, model_output, uncond, variance, noise, noise_prev, scales, out)
        except RuntimeError:
            # asked only now, for a step takes a microsecond: sparse, mkldnn and nested tensors
            check.sample("x", x)
            given = {"model_output": model_output, "uncond": uncond, "variance": variance}
            given |= {"noise": noise, "noise_prev": noise_prev, "out": out}
            for name, tensor in given.items():
                check.like(name, tensor, x)
            raise

    def _general_step(
        self,
        i: int,
        x: Tensor,
        model_output: Tensor,
        uncond: Tensor | None,
        variance: Tensor | None,
        noise: Tensor | None,
        noise_prev: Tensor | None,
        scales: Tensor | None,
        out: Tensor | None,
    ) -> Tensor:
        """Any device, layout and backend, through the op."""
        check.valued("x", x)
        options: dict[str, Any] = {
            "uncond": uncond,
            "variance": variance,
            "noise": noise,
            "noise_prev": noise_prev,
            "seeds": self.seeds,
            "stream": STREAM_STEP,
            "scales": scales,
        }
        given = (x, model_output, uncond, variance, noise, noise_prev, *self._recorded.values())
        if needs_gradient(*given):
            if out is not None:
                refuse_gradient("a step with out")
            return self._recorded_step(i, x, model_output, options)
        if out is None:
            out = torch.empty_like(x)
        history = self._device_history(x)
        if self._reads[i] & ~self._written:
            self._refuse(i)
        sampler_step_(x, model_output, self._rows.beside(x), i, out=out, history=history, **options)
        self._written |= self._stores[i]
        return out

    def _recorded_step(self, i: int, x: Tensor, model_output: Tensor, options: dict[str, Any]) -> Tensor:
        """The step as a function, for autograd: what it stores is a tensor of its own."""
        recorded, history = self._records(x), None
        if self._reads[i] & ~self._written:
            self._refuse(i)
        if self._reads[i]:
            nothing = torch.zeros_like(x)
            history = torch.stack([recorded.get(slot, nothing) for slot in range(self._slots)])
        rows = self._rows.beside(x)
        y, stored = sampler_step(x, model_output, rows, i, history=history, store=True, **options)
        if self._slots and self._stores[i]:
            recorded[self._stores[i].bit_length() - 1] = stored
            self._written |= self._stores[i]
        return y

    def _refuse(self, i: int) -> NoReturn:
        raise ValueError(
            f"i is {i}, whose row reads what earlier rows store, but they have not run on samples like x "
            "since the last reset; take the rows in order"
        )

    def _plan_for(
        self,
        x: Tensor,
        model_output: Tensor | None,
        out: Tensor | None,
        others: tuple[Tensor | None, ...] | None,
    ) -> CpuPlan | None:
        """The CPU's short way where all tensors are dense alike and PyTorch need not see the call."""
        if self._recorded or needs_dispatcher(x, model_output, out):
            return None
        if not dispatch.bypasses("sampler_step"):
            return None
        if model_output is None or (others is not None and needs_dispatcher(*others)):
            return None  # the op says what is missing
        plan = self._plan
        if plan is None or not plan.fits(x):
            plan = self._plan = self._new_plan(x)
        if plan is None or not plan.fits(model_output, None if out is x else out, *(others or ())):
            return None
        return plan

    def _new_plan(self, x: Tensor) -> CpuPlan | None:
        if not x.is_cpu or dispatch.choose("sampler_step", x.device, x.dtype).backend != "cpu":
            return None
        module = importlib.import_module("genfuse_kernels.sampler_step.cpu_plan")
        if not module.CpuPlan.serves(x):
            return None
        history = self._device_history(x)
        if history is not None and history.stride()[1:] != x.stride():
            return None
        plan: CpuPlan = module.CpuPlan(self._rows.beside(x), x, history)
        return plan

    def _device_history(self, x: Tensor) -> Tensor | None:
        """What rows stored, (slots, *x.shape) in x's memory format; with what was recorded copied into it."""
        if self._slots == 0:
            return None
        self._forget_unlike(x)
        if self._history is None:
            self._history = _history_like(x, self._slots)
            for slot, tensor in self._recorded.items():
                self._history[slot].copy_(tensor.detach())
            self._recorded = {}
        return self._history

    def _records(self, x: Tensor) -> dict[int, Tensor]:
        """What rows stored, by slot, each a tensor of its own."""
        self._forget_unlike(x)
        if self._history is not None:
            self._recorded = {k: self._history[k] for k in range(self._slots) if self._written >> k & 1}
            self._history = self._plan = None
        return self._recorded

    def _forget_unlike(self, x: Tensor) -> None:
        """Start anew where what was stored is of another shape, dtype or device."""
        stored = self._recorded.values() if self._history is None else (self._history[0],)
        if any(t.shape != x.shape or t.dtype != x.dtype or t.device != x.device for t in stored):
            self.reset()


class DeviceRows:
    """A table's rows where the kernels read them, copied once a device and dtype."""

    def __init__(self, rows: Tensor) -> None:
        self._host = rows
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def beside(self, x: Tensor) -> Tensor:
        """On x's device: float64 on the CPU, float32 elsewhere unless x is float64."""
        dtype = torch.float64 if x.device.type == "cpu" or x.dtype == torch.float64 else torch.float32
        rows = self._copies.get((x.device, dtype))
        if rows is None:
            rows = self._copies[x.device, dtype] = self._host.to(x.device, dtype)
        return rows


def _slot_bits(table: Table) -> tuple[list[int], list[int]]:
    """For each row, the history slots it reads and the one it stores to, a bit a slot."""
    reads, stores = [], []
    for row in table.rows.tolist():
        live = [row[COLUMN[f"y_h{k}"]] != 0 or row[COLUMN[f"s_h{k}"]] != 0 for k in range(HISTORY_SLOTS)]
        reads.append(sum(1 << k for k, used in enumerate(live) if used))
        slot = int(row[COLUMN["store"]])
        stores.append(1 << slot if slot >= 0 else 0)
    return reads, stores


def _history_like(x: Tensor, slots: int) -> Tensor:
    """Uninitialised (slots, *x.shape) whose slots have x's memory format; rows store before they read."""
    one = torch.empty_like(x, device="meta")
    stride = max(x.numel(), 1)
    return torch.empty(slots * stride, dtype=x.dtype, device=x.device).as_strided(
        (slots, *x.shape), (stride, *one.stride())
    )

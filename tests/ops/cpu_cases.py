"""Calls of the sampler ops for the CPU tests: tables, tensors in every layout, and guarded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.sampler_step.row import COLUMN, ROW

ISAS = _cpu.available_isas()
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced", "batch_strided")

GUARD = 64
"""Elements of NaN on either side of a guarded tensor."""


@contextmanager
def instruction_set(name: str) -> Iterator[None]:
    before = _cpu.isa()
    _cpu.set_isa(name)
    try:
        yield
    finally:
        _cpu.set_isa(before)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def row(**columns: float) -> Tensor:
    """One row of a table, (1, ROW): unbounded and storing nothing unless told otherwise."""
    values = torch.zeros(1, ROW, dtype=torch.float64)
    defaults = {
        "clip_min": -math.inf,
        "clip_max": math.inf,
        "guidance": 1.0,
        "threshold_max": 1.0,
        "store": -1,
    }
    for name, value in {**defaults, **columns}.items():
        values[0, COLUMN[name]] = value
    return values


def laid_out(values: Tensor, layout: str) -> Tensor:
    """A copy of `values` with other strides, NaN in all memory that is not its own."""
    shape = values.shape
    if layout == "transposed" and values.ndim > 2:
        room = torch.full((shape[0], *reversed(shape[1:])), math.nan, dtype=values.dtype)
        view = room.permute(0, *range(values.ndim - 1, 0, -1))
    elif layout == "channels_last" and values.ndim > 2:
        room = torch.full((shape[0], *shape[2:], shape[1]), math.nan, dtype=values.dtype)
        view = room.permute(0, values.ndim - 1, *range(1, values.ndim - 1))
    elif layout == "sliced" and values.ndim > 1:
        room = torch.full((*shape[:-1], 2 * shape[-1] + 3), math.nan, dtype=values.dtype)
        view = room[..., 1 : 1 + 2 * shape[-1] : 2]
    elif layout == "batch_strided" and values.ndim > 1:
        room = torch.full((shape[0], 2 * shape[1] + 1, *shape[2:]), math.nan, dtype=values.dtype)
        view = room[:, : shape[1]]
    else:
        room = torch.full((values.numel() + 2 * GUARD,), math.nan, dtype=values.dtype)
        view = room[GUARD : GUARD + values.numel()].view(shape)
    view.copy_(values)
    return view


def own_elements(view: Tensor) -> Tensor:
    """Which elements of the view's storage are its own."""
    whole = torch.zeros(view.untyped_storage().nbytes() // view.element_size(), dtype=torch.bool)
    whole.as_strided(view.shape, view.stride(), view.storage_offset()).fill_(True)
    return whole


def untouched_elsewhere(view: Tensor) -> bool:
    """Whether all memory around a `laid_out` tensor still holds its NaN."""
    storage = torch.empty(0, dtype=view.dtype).set_(view.untyped_storage())
    return bool(storage[~own_elements(view)].isnan().all())


@dataclass
class Call:
    """Arguments of one `sampler_step` beside out and stored."""

    x: Tensor
    model_output: Tensor | None
    table: Tensor
    index: int | Tensor = 0
    options: dict[str, Tensor | int | None] = field(default_factory=dict)


def random_call(rng: np.random.Generator, dtype: torch.dtype, shape: tuple[int, ...]) -> Call:
    """A call whose row has a random choice of terms; inputs that no row reads are absent or full of NaN."""

    def tensor(*lead: int) -> Tensor:
        values = torch.from_numpy(rng.standard_normal((*lead, *shape))).to(dtype)
        layout = LAYOUTS[rng.integers(len(LAYOUTS))] if mixed else same
        return values if lead else laid_out(values, layout)

    mixed = bool(rng.random() < 0.4)
    same = LAYOUTS[rng.integers(len(LAYOUTS))]
    rows = [random_row(rng) for _ in range(3)]
    table = torch.cat(rows)
    batch = shape[0]
    per_sample = bool(rng.random() < 0.4)
    index: int | Tensor = (
        torch.from_numpy(rng.integers(1, 3, batch)) if per_sample else int(rng.integers(1, 3))
    )
    compute = dtype if dtype == torch.float64 else torch.float32
    options: dict[str, Tensor | int | None] = {
        "uncond": tensor() if rng.random() < 0.5 else None,
        "variance": tensor(),
        "history": tensor(4),
        "noise": tensor() if rng.random() < 0.3 else None,
        "noise_prev": tensor() if rng.random() < 0.3 else None,
        "seeds": torch.from_numpy(rng.integers(-(2**63), 2**63 - 1, batch)),
        "stream": int(rng.integers(0, 3)),
        "scales": torch.from_numpy(rng.uniform(1, 2, (batch, 2))).to(compute),
    }
    return Call(tensor(), tensor(), table, index, options)


def random_row(rng: np.random.Generator) -> Tensor:
    columns: dict[str, float] = {"x0_x": rng.normal(), "x0_m": rng.normal()}
    for output in "ys":
        for term in ("x", "m", "x0", "h0", "h1", "h2", "h3", "noise", "noise_prev"):
            if rng.random() < 0.4:
                columns[f"{output}_{term}"] = rng.normal()
    bound = rng.integers(4)
    if bound == 1:
        columns.update(clip_min=-1.0, clip_max=1.0)
    elif bound == 2:
        columns.update(clip_max=0.5)
    elif bound == 3:
        columns.update(quantile=0.9, threshold_max=5.0)
    if rng.random() < 0.3:
        columns.update(log_std=rng.normal(), log_std_v=rng.normal())
    columns["guidance"] = float(rng.choice([0.0, 1.0, 7.5]))
    columns["rescale"] = float(rng.choice([0.0, 0.7]))
    columns["store"] = float(rng.choice([-1, 0, 3]))
    return row(**columns)

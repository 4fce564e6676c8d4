"""Generated calls of `sampler_step`: rows of any terms, tensors in every layout, a row a sample or one for all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import double, output, short
from genfuse_kernels.common.guarded import LAYOUTS, laid_out
from genfuse_kernels.sampler_step import reference, spec
from genfuse_kernels.sampler_step.row import COLUMN, ROW, TERMS

SHAPES = (
    (1, 1),
    (3, 5),
    (2, 3, 7, 9),
    (2, 4, 16, 16),
    (1, 2, 3, 5, 7),
    (2, 3, 33, 64),
    (5,),
    (2, 8, 12),
    (0, 3, 4, 4),
)


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
    """A row with a random choice of terms, bounds, guidance and slot."""
    columns: dict[str, float] = {"x0_x": rng.normal(), "x0_m": rng.normal()}
    for made in "ys":
        for term in ("x", "m", "x0", "h0", "h1", "h2", "h3", "noise", "noise_prev"):
            if rng.random() < 0.4:
                columns[f"{made}_{term}"] = rng.normal()
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


_RANDOM = [COLUMN[f"{made}_{term}"] for made in "ys" for term in ("noise", "noise_prev")]


def _make_plain(call: Call, bounded: bool) -> None:
    """No noise, rescale or threshold, one row for all, dense tensors; without a clip unless `bounded`."""
    call.table[:, [*_RANDOM, COLUMN["rescale"], COLUMN["quantile"]]] = 0
    if not bounded:
        call.table[:, COLUMN["clip_min"]], call.table[:, COLUMN["clip_max"]] = -math.inf, math.inf
    call.index, call.x = 1, call.x.contiguous()
    call.model_output = None if call.model_output is None else call.model_output.contiguous()
    uncond = call.options["uncond"]
    call.options["uncond"] = uncond.contiguous() if isinstance(uncond, Tensor) else None


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """A call with what it stores given; every third one dense, of a deterministic solver's row."""
    rng = np.random.default_rng([2, seed, spec.DTYPES.index(dtype)])
    call = random_call(rng, dtype, SHAPES[seed % len(SHAPES)])
    if seed % 3 == 0:
        _make_plain(call, bounded=seed % 2 == 0)
    wide: Any = {name: double(v) if isinstance(v, Tensor) else v for name, v in call.options.items()}
    given: list[Any] = [double(call.x), double(call.model_output), call.table, call.index]
    y, s = reference.sampler_step(*given, **wide)
    of_y, of_s = reference.magnitude(*given, **wide)
    relative, absolute = spec.tolerance(dtype, len(TERMS))
    layouts = rng.choice(LAYOUTS, 2) if seed % 3 else ("contiguous", "contiguous")
    out = output("out", y, relative * of_y + absolute, dtype, layouts[0])
    stored = output("stored", s, relative * of_s + absolute, dtype, layouts[1])
    arguments: dict[str, Any] = {
        "out": out.tensor,
        "stored": stored.tensor,
        "x": call.x,
        "model_output": call.model_output,
    }
    arguments |= {"table": call.table, "index": call.index, **call.options}
    return cases.Case(f"{tuple(call.x.shape)} {short(dtype)}", arguments, [out, stored], [call.x])

"""`sampler_step` in plain PyTorch: the definition that every kernel is held against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genfuse_kernels.philox_normal.reference import philox_normal
from genfuse_kernels.sampler_step.row import COLUMN, TERMS


def predicted_x0(row: Tensor, x: Tensor, m: Tensor | None, scales: Tensor | None) -> Tensor:
    """x0 of one sample from its row, clipped or thresholded as the row says."""
    value = {name: float(row[i]) for name, i in COLUMN.items()}
    x0 = torch.zeros_like(x)
    if value["x0_x"] != 0:
        x0 = x0 + value["x0_x"] * x
    if value["x0_m"] != 0:
        x0 = x0 + value["x0_m"] * _require(m, "model_output")
    if value["quantile"] != 0:
        threshold = _require(scales, "scales")[1]
        return torch.clamp(x0, -threshold, threshold) / threshold
    return torch.clamp(x0, value["clip_min"], value["clip_max"])


def guided(row: Tensor, model_output: Tensor | None, uncond: Tensor | None, scales: Tensor | None) -> Tensor | None:
    """The model output after classifier-free guidance and its rescale (Ho & Salimans 2022; Lin et al. 2023)."""
    guidance = float(row[COLUMN["guidance"]])
    if uncond is None or guidance == 1:
        m = model_output
    elif guidance == 0:
        m = uncond
    else:
        m = uncond + guidance * (_require(model_output, "model_output") - uncond)
    if m is not None and uncond is not None and float(row[COLUMN["rescale"]]) != 0:
        m = m * _require(scales, "scales")[0]
    return m


def sampler_step(
    x: Tensor,
    model_output: Tensor | None,
    table: Tensor,
    index: int | Tensor,
    *,
    uncond: Tensor | None = None,
    variance: Tensor | None = None,
    history: Sequence[Tensor] | Tensor = (),
    noise: Tensor | None = None,
    noise_prev: Tensor | None = None,
    seeds: Tensor | None = None,
    stream: int = 0,
    scales: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(next sample, tensor to store), both like x; see `spec`. Differentiable in every floating input."""
    compute = x.dtype if x.dtype == torch.float64 else torch.float32
    rows = torch.as_tensor(index, dtype=torch.int64).reshape(-1).expand(x.shape[0]).tolist()
    outs: list[Tensor] = []
    stores: list[Tensor] = []
    for n, row_index in enumerate(rows):
        row = table[row_index]

        def pick(tensor: Tensor | None, n: int = n) -> Tensor | None:
            return None if tensor is None else tensor[n].to(compute)

        scale = pick(scales)
        m = guided(row, pick(model_output), pick(uncond), scale)
        terms: dict[str, Tensor | None] = {"x": pick(x), "m": m}
        terms.update({f"h{k}": pick(h) for k, h in enumerate(history)})
        seed = None if seeds is None else seeds[n : n + 1]
        terms["noise"], terms["noise_prev"] = pick(noise), pick(noise_prev)

        def combination(output: str) -> Tensor:
            total = torch.zeros_like(x[n], dtype=compute)
            for term in TERMS:
                coefficient = float(row[COLUMN[f"{output}_{term}"]])
                if coefficient == 0:
                    continue
                if term == "x0":
                    value = predicted_x0(row, terms["x"], terms["m"], scale)
                elif term in ("noise", "noise_prev"):
                    value = _normal(terms[term], term, seed, row_index, stream, x[n : n + 1], compute)
                    if term == "noise":
                        value = value * _noise_scale(row, pick(variance))
                else:
                    value = _require(terms.get(term), _ARGUMENT.get(term, "history"))
                total = total + coefficient * value
            return total

        outs.append(combination("y"))
        stores.append(combination("s"))
    if not rows:
        return x.clone(), x.clone()
    return torch.stack(outs).to(x.dtype), torch.stack(stores).to(x.dtype)


_ARGUMENT = {"x": "x", "m": "model_output"}


def _require(tensor: Tensor | None, argument: str) -> Tensor:
    if tensor is None:
        raise ValueError(f"{argument} is None, but the table's row has a coefficient for it; pass {argument}")
    return tensor


def _normal(
    given: Tensor | None, term: str, seed: Tensor | None, row: int, stream: int, like: Tensor, compute: torch.dtype
) -> Tensor:
    if given is not None:
        return given
    seed = _require(seed, "seeds")
    row = row if term == "noise" else row - 1
    return philox_normal(seed, tuple(like.shape), row, stream)[0].to(compute)


def _noise_scale(row: Tensor, variance: Tensor | None) -> Tensor | float:
    log_std_v = float(row[COLUMN["log_std_v"]])
    if log_std_v == 0:
        return 1.0
    return torch.exp(float(row[COLUMN["log_std"]]) + log_std_v * _require(variance, "variance"))


def magnitude(
    x: Tensor,
    model_output: Tensor | None,
    table: Tensor,
    index: int | Tensor,
    *,
    uncond: Tensor | None = None,
    scales: Tensor | None = None,
    noise: Tensor | None = None,
    noise_prev: Tensor | None = None,
    history: Sequence[Tensor] | Tensor = (),
    **inputs: Any,
) -> tuple[Tensor, Tensor]:
    """Σ|coefficient·term| for both outputs: what `spec.tolerance` is relative to.

    Every input and coefficient by its absolute value, nothing clipped; a threshold is at least 1, so leaving
    out its division keeps this an upper bound.
    """
    absolute = table.abs()
    absolute[:, COLUMN["clip_min"]], absolute[:, COLUMN["clip_max"]] = -math.inf, math.inf
    absolute[:, COLUMN["quantile"]] = 0
    absolute[:, COLUMN["log_std"] : COLUMN["log_std_v"] + 1] = table[:, COLUMN["log_std"] : COLUMN["log_std_v"] + 1]
    m = None if model_output is None else model_output.abs()
    if uncond is not None and model_output is not None:
        rows = torch.as_tensor(index, dtype=torch.int64).reshape(-1).expand(x.shape[0])
        guidance = absolute[rows, COLUMN["guidance"]].to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        m = uncond.abs() + guidance * (model_output.abs() + uncond.abs())
        if scales is not None:
            factor = torch.where(absolute[rows, COLUMN["rescale"]] != 0, scales[:, 0].to(absolute.dtype), 1.0)
            m = m * factor.to(x.dtype).reshape_as(guidance)
    return sampler_step(
        x.abs(),
        m,
        absolute,
        index,
        noise=_normal_bound(noise, x),
        noise_prev=_normal_bound(noise_prev, x),
        history=[h.abs() for h in history],
        **inputs,
    )


def _normal_bound(noise: Tensor | None, like: Tensor) -> Tensor:
    """|noise|, or where Philox draws it the largest normal there is: √(−2 ln 2⁻²⁴) = 5.77."""
    return torch.full_like(like, 5.77) if noise is None else noise.abs()

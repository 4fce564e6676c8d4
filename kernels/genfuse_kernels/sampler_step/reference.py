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


def guided(
    row: Tensor, model_output: Tensor | None, uncond: Tensor | None, scales: Tensor | None
) -> Tensor | None:
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
    rows = torch.as_tensor(index, dtype=torch.int64, device="cpu").reshape(-1).expand(x.shape[0]).tolist()
    given = {"x": x, "model_output": model_output, "uncond": uncond, "variance": variance}
    given |= {"noise": noise, "noise_prev": noise_prev, "scales": scales}
    given |= {f"h{k}": slot for k, slot in enumerate(history)}
    outputs = []
    for n, row in enumerate(rows):
        seed = None if seeds is None else seeds[n : n + 1]
        outputs.append(_one_sample(table[row], row, _sample(given, n), seed, stream))
    if not outputs:
        return x.clone(), x.clone()
    return torch.stack([y for y, _ in outputs]).to(x.dtype), torch.stack([s for _, s in outputs]).to(x.dtype)


def _sample(given: dict[str, Tensor | None], n: int) -> dict[str, Tensor | None]:
    """Sample n of every tensor, at the precision that is computed in."""
    return {
        name: None if t is None else t[n].to(t.dtype if t.dtype == torch.float64 else torch.float32)
        for name, t in given.items()
    }


def _one_sample(
    row: Tensor, index: int, given: dict[str, Tensor | None], seed: Tensor | None, stream: int
) -> tuple[Tensor, Tensor]:
    """Both outputs of one sample; a term is looked at only where its coefficient is not zero."""
    x, scales = _require(given["x"], "x"), given["scales"]
    m = guided(row, given["model_output"], given["uncond"], scales)

    def term(name: str) -> Tensor:
        if name == "x0":
            return predicted_x0(row, x, m, scales)
        if name == "m":
            return _require(m, "model_output")
        if name == "noise":
            normal = _normal(given["noise"], seed, index, stream, x)
            return normal * _noise_scale(row, given["variance"])
        if name == "noise_prev":
            return _normal(given["noise_prev"], seed, index - 1, stream, x)
        return _require(given.get(name), "x" if name == "x" else "history")

    def combination(output: str) -> Tensor:
        total = torch.zeros_like(x)
        for name in TERMS:
            coefficient = float(row[COLUMN[f"{output}_{name}"]])
            if coefficient != 0:
                total = total + coefficient * term(name)
        return total

    return combination("y"), combination("s")


def _require(tensor: Tensor | None, argument: str) -> Tensor:
    if tensor is None:
        raise ValueError(f"{argument} is None, but the table's row has a coefficient for it; pass {argument}")
    return tensor


def _normal(given: Tensor | None, seed: Tensor | None, row: int, stream: int, like: Tensor) -> Tensor:
    """The noise given, or what the seed gives for the row: like one sample."""
    if given is not None:
        return given
    return philox_normal(_require(seed, "seeds"), (1, *like.shape), row, stream)[0].to(like.dtype)


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
    absolute[:, COLUMN["log_std"] : COLUMN["log_std_v"] + 1] = table[
        :, COLUMN["log_std"] : COLUMN["log_std_v"] + 1
    ]
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

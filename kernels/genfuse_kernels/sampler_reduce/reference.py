"""`sampler_reduce` in plain PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genfuse_kernels.sampler_step.reference import guided
from genfuse_kernels.sampler_step.row import COLUMN


def sampler_reduce(
    x: Tensor, model_output: Tensor, table: Tensor, index: int | Tensor, *, uncond: Tensor | None = None
) -> Tensor:
    """(N, 2): guidance factor and threshold of each sample; see `spec`."""
    compute = x.dtype if x.dtype == torch.float64 else torch.float32
    rows = torch.as_tensor(index, dtype=torch.int64, device="cpu").reshape(-1).expand(x.shape[0]).tolist()
    scales = torch.empty(x.shape[0], 2, dtype=compute, device=x.device)
    for n, row_index in enumerate(rows):
        row = table[row_index]
        unscaled = torch.ones(2, dtype=compute, device=x.device)
        conditional = model_output[n].to(compute)
        m = guided(row, conditional, None if uncond is None else uncond[n].to(compute), unscaled)
        assert m is not None
        scales[n, 0] = _rescale(row, conditional, m) if uncond is not None else 1.0
        scales[n, 1] = _threshold(row, x[n].to(compute), m * scales[n, 0])
    return scales


def _rescale(row: Tensor, conditional: Tensor, m: Tensor) -> Tensor | float:
    phi = float(row[COLUMN["rescale"]])
    if phi == 0 or conditional.numel() < 2:
        return 1.0
    std = _std(m)
    return phi * _std(conditional) / std + (1 - phi) if float(std) != 0 else 1.0


def _std(values: Tensor) -> Tensor:
    """Around the first element: of equal elements exactly 0, whatever the mean of them is rounded to."""
    return (values - values.flatten()[0]).std()


def _threshold(row: Tensor, x: Tensor, m: Tensor) -> Tensor | float:
    quantile = float(row[COLUMN["quantile"]])
    if quantile == 0 or x.numel() == 0:
        return math.inf
    x0 = torch.zeros_like(x)
    for coefficient, term in ((float(row[COLUMN["x0_x"]]), x), (float(row[COLUMN["x0_m"]]), m)):
        if coefficient != 0:  # a dead term is not read: no 0·inf
            x0 = x0 + coefficient * term
    threshold_max = float(row[COLUMN["threshold_max"]])
    ordered = x0.abs().flatten().sort().values
    position = quantile * (ordered.numel() - 1)
    low, high = math.floor(position), math.ceil(position)
    value = torch.lerp(ordered[low], ordered[high], position - low)
    if ordered[-1].isnan():  # NaN sorts last, and spreads as in torch.quantile
        return ordered[-1]
    return torch.clamp(value, 1.0, threshold_max)

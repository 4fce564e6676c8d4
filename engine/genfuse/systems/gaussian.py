"""Samples of a normal distribution that was fitted to codes."""

from __future__ import annotations

import torch
from torch import Tensor

_JITTER = 1e-6
"""Added to the variances, of codes about 1 long: a covariance of few codes has no Cholesky factor."""


def moments(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Of codes (N, D), N at least 1: mean (D,) and covariance (D, D), as codes are."""
    mean = codes.mean(0)
    centred = codes - mean
    return mean, centred.mT @ centred / len(codes)


def coloured(normal: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """mean + L·n for standard normal n (N, D), L Lᵀ the covariance: normal codes of these moments, as n is.

    The factor is computed in float64: a learned covariance may be nearly singular.
    """
    spread = covariance.double() + _JITTER * torch.eye(len(mean), dtype=torch.float64, device=mean.device)
    factor: Tensor = torch.linalg.cholesky(spread)
    return mean + normal @ factor.mT.to(normal.dtype)

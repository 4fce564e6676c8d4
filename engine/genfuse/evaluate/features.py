"""What features have to be, and how pictures become them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def check_features(name: str, features: Tensor, *, least: int = 0, width: int | None = None) -> Tensor:
    """``features`` itself where it is (N, D), floating and finite, N at least ``least`` and D ``width``.

    Raises:
        ValueError: another shape, or a feature is not finite.
        TypeError: no floating tensor.
    """
    if not isinstance(features, Tensor) or not features.is_floating_point():
        got = features.dtype if isinstance(features, Tensor) else type(features).__name__
        raise TypeError(f"{name} is {got}, expected a floating tensor (N, D)")
    if features.ndim != 2 or features.shape[0] < least or features.shape[1] < 1:
        raise ValueError(f"{name} has shape {tuple(features.shape)}, expected (N, D), N at least {least}")
    if width is not None and features.shape[1] != width:
        raise ValueError(f"{name} has {features.shape[1]} features a sample, expected {width}")
    if not features.isfinite().all():
        raise ValueError(f"{name} is not finite, expected numbers")
    return features


@torch.no_grad()
def features_of(encoder: nn.Module, images: Tensor, batch_size: int = 256) -> Tensor:
    """What ``encoder`` makes of (N, C, H, W) pictures, ``batch_size`` at a time: (N, D), on the CPU.

    Raises:
        ValueError: ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
    return torch.cat([encoder(part).cpu() for part in torch.split(images, batch_size)])

"""The Fréchet distance between two sets of features, each taken as a normal distribution."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def frechet_distance(features: Tensor, other: Tensor) -> Tensor:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2·(Σ₁Σ₂)^½), the square of the distance (Dowson and Landau 1982, eq. 4).

    Args:
        features, other: (N, D) and (M, D), floating, N and M at least 2. Below some thousands, and below D above all,
            covariances are too small and distances too large: compare those of equal N and M.

    Returns:
        (), float64, 0 or more. tr (Σ₁Σ₂)^½ is the sum of the roots of the eigenvalues of Σ₁^½·Σ₂·Σ₁^½, which is
        symmetric: ``torch.linalg.eigh``, where the root of Σ₁Σ₂ itself would be complex for singular covariances.

    Raises:
        ValueError: shapes do not fit, or a feature is not finite.
        TypeError: one is no floating tensor.
    """
    (mean, covariance), (other_mean, other_covariance) = (
        _moments("features", features),
        _moments("other", other),
    )
    if mean.shape != other_mean.shape:
        raise ValueError(f"other has {len(other_mean)} features a sample, expected {len(mean)}")
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.mT
    of_product = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
    apart = (mean - other_mean).square().sum()
    distance: Tensor = apart + covariance.trace() + other_covariance.trace() - 2 * of_product
    return distance.clamp(min=0)


@torch.no_grad()
def fid(encoder: nn.Module, images: Tensor, other: Tensor, *, batch_size: int = 256) -> Tensor:
    """The Fréchet distance of what ``encoder`` sees in two sets of pictures (Heusel et al. 2017, arXiv:1706.08500).

    With `genfuse.evaluate.encoder()` it compares pictures like digits and OpenMoji with one another; its numbers are
    its own, and no Inception network's.

    Args:
        encoder: (n, C, H, W) to features (n, D).
        images, other: (N, C, H, W) and (M, C, H, W), as the encoder takes them, N and M at least 2.
        batch_size: pictures at a time.

    Returns:
        (), float64. Errors as those of :func:`frechet_distance`.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
    seen = (torch.cat([encoder(part) for part in torch.split(of, batch_size)]) for of in (images, other))
    return frechet_distance(*seen)


def _moments(name: str, features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) with the divisor N − 1, in float64."""
    if not isinstance(features, Tensor) or not features.is_floating_point():
        got = features.dtype if isinstance(features, Tensor) else type(features).__name__
        raise TypeError(f"{name} is {got}, expected a floating tensor (N, D)")
    if features.ndim != 2 or features.shape[0] < 2 or features.shape[1] < 1:
        raise ValueError(f"{name} has shape {tuple(features.shape)}, expected (N, D), N at least 2")
    x = features.double()
    if not x.isfinite().all():
        raise ValueError(f"{name} is not finite, expected numbers")
    mean = x.mean(0)
    return mean, (x - mean).mT @ (x - mean) / (len(x) - 1)

"""The Fréchet distance between two sets of features, each taken as a normal distribution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genfuse.evaluate.features import check_features, features_of
from genfuse.evaluate.moments import Moments


def frechet_distance(features: Tensor | Moments, other: Tensor | Moments) -> Tensor:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2·(Σ₁Σ₂)^½), the square of the distance (Dowson and Landau 1982, eq. 4).

    Args:
        features, other: (N, D) and (M, D), floating, N and M at least 2, or the :class:`Moments` of such. Below some
            thousands, and below D above all, covariances are too small and distances too large: compare those of
            equal N and M, or see `fid_infinity`.

    Returns:
        (), float64, 0 or more, differentiable by features that are tensors. With Σ₁ = AᵀA and Σ₂ = BᵀB, tr (Σ₁Σ₂)^½ is
        the sum of the singular values of ABᵀ. Of fewer samples than features A has as many rows as samples: nothing
        is made of the null space, where the root of Σ₁Σ₂ would turn a rounding of 1e-16 into 1e-8.

    Raises:
        ValueError: shapes do not fit, or a feature is not finite.
        TypeError: one is neither a floating tensor nor Moments.
    """
    mean, factor = normal("features", features)
    other_mean, other_factor = normal("other", other)
    if mean.shape != other_mean.shape:
        raise ValueError(f"other has {len(other_mean)} features a sample, expected {len(mean)}")
    return between(mean, factor, other_mean, other_factor)


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
    return frechet_distance(*(features_of(encoder, of, batch_size) for of in (images, other)))


def between(mean: Tensor, factor: Tensor, other_mean: Tensor, other_factor: Tensor) -> Tensor:
    """The formula, from means and factors: Σ = factorᵀ·factor, so that tr Σ is the sum of its squares."""
    of_product = torch.linalg.svdvals(factor @ other_factor.mT).sum()
    traces = factor.square().sum() + other_factor.square().sum()
    distance: Tensor = (mean - other_mean).square().sum() + traces - 2 * of_product
    return distance.clamp(min=0)


def normal(name: str, of: Tensor | Moments) -> tuple[Tensor, Tensor]:
    """Mean (D,) and a factor (R, D) of the covariance, float64."""
    if isinstance(of, Moments):
        return of.mean, _root(of.covariance)
    x = check_features(name, of, least=2).double()
    mean = x.mean(0)
    factor = (x - mean) / (len(x) - 1) ** 0.5
    if len(x) > x.shape[1] and not factor.requires_grad:  # qr has no gradient where columns depend on others
        factor = torch.linalg.qr(factor, mode="r").R
    return mean, factor


def _root(covariance: Tensor) -> Tensor:
    """(D, D) with covariance = rootᵀ·root. Eigenvalues that are no more than rounding are none."""
    values, vectors = torch.linalg.eigh(covariance)
    rounding = len(values) * torch.finfo(values.dtype).eps * values[-1].clamp(min=0)
    root: Tensor = values.where(values > rounding, 0).sqrt()[:, None] * vectors.mT
    return root

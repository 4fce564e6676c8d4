"""Precision, recall, density and coverage: whether features of two sets lie in each other's neighbourhoods."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from genfuse.evaluate.neighbours import balls_around, nearest, radii


@dataclass(frozen=True)
class Manifolds:
    """What `manifolds` measures.

    Attributes:
        precision: share of the samples in the ball of some real one: how many look real.
        recall: share of the real ones in the ball of some sample: how much of the data can be made.
        density: balls of real ones that a sample lies in, over k; 1 is expected of samples like the real ones, and a
            real outlier's ball does not count more than another.
        coverage: share of the real ones with a sample in their ball.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifolds(features: Tensor, real: Tensor, k: int = 5) -> Manifolds:
    """Improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991, there with k = 3), density and
    coverage (Naeem et al. 2020, arXiv:2002.09797, k = 5).

    The ball of a feature reaches to its k-th nearest neighbour in its own set, border included. Memory does not
    grow with N·M. The numbers depend on N and M: compare those of equal ones.

    Args:
        features, real: (N, D) and (M, D), floating, more than k each.
        k: neighbours.

    Raises:
        ValueError: shapes do not fit, a feature is not finite, or there are no k neighbours.
        TypeError: one is no floating tensor.
    """
    of_real, of_samples = radii(real, k), radii(features, k)
    inside = balls_around(features, real, of_real)
    reached = balls_around(real, features, of_samples)
    closest, _ = nearest(real, features)
    return Manifolds(
        precision=(inside > 0).double().mean().item(),
        recall=(reached > 0).double().mean().item(),
        density=inside.double().mean().item() / k,
        coverage=(closest[:, 0] <= of_real).double().mean().item(),
    )

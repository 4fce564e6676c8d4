"""The Fréchet distance, punished for memorised training samples."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse.evaluate.features import check_features
from genfuse.evaluate.frechet import frechet_distance
from genfuse.evaluate.neighbours import nearest


def mifid(features: Tensor, real: Tensor, *, threshold: float | None = None) -> Tensor:
    """FID over the mean distance of samples to their nearest real one (Bai et al. 2021, arXiv:2106.03062).

    The distance is 1 − |cos| of the features; a mean of ``threshold`` or more is taken for 1, no memorisation. Samples
    are looked up among real ones, as in the paper; torchmetrics looks real ones up among samples. Blocks of distances
    are held, not all N·M.

    Args:
        features, real: (N, D) and (M, D), floating, at least 2 each. Features that are all 0 have no direction and are
            left out of the distances.
        threshold: depends on the features; 0.1 is customary for Inception's. None: half the mean distance of the real
            ones to their nearest other.

    Returns:
        (), float64. Errors as `frechet_distance`.
    """
    distance = frechet_distance(features, real)
    directions = [_directions(name, of) for name, of in (("features", features), ("real", real))]
    # On the sphere ‖x − y‖² = 2 − 2·cos, so the nearest of the real ones and of their opposites has the largest |cos|.
    samples, known = directions[0], torch.cat((directions[1], -directions[1]))
    mean = nearest(samples, known)[0].square().mean().item() / 2
    if threshold is None:
        threshold = _among(directions[1]) / 2
    return distance / (mean + 1e-14) if mean < threshold else distance


def _among(real: Tensor) -> float:
    """Mean of 1 − |cos| to the nearest other."""
    same, opposite = (nearest(real, points, skip_own=True)[0] for points in (real, -real))
    return torch.minimum(same, opposite).square().mean().item() / 2


def _directions(name: str, features: Tensor) -> Tensor:
    x = check_features(name, features).detach().double().cpu()
    lengths = x.norm(dim=1, keepdim=True)
    kept = lengths[:, 0] > 0
    if not kept.any():
        raise ValueError(f"{name} is 0 everywhere, expected features with a direction")
    directions: Tensor = x[kept] / lengths[kept]
    return directions

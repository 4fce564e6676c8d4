"""Whether energies tell a class that was never trained on from pictures of the others."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.metrics import roc_auc_score

from genfuse.data import ImageDataset
from genfuse.data.digits import WITHOUT
from genfuse.systems.ebgan import EBGAN


def of_anomalies(system: EBGAN, source: ImageDataset) -> dict[str, Any]:
    """Of all that was held out: mean energies, and the area under the curve of hits over false alarms (0.5: by chance).

    ``distance_to_the_mean`` is the area of a critic that knows no more than the mean of what was trained on.
    """
    held_out = source.held_out
    if source.name not in WITHOUT or held_out is None:
        return {}
    unseen = held_out.labels == WITHOUT.index(source.name)
    energies = system.energy(held_out.images)
    from_the_mean = (held_out.images - source.images.mean(0)).flatten(1).square().mean(1)
    return {
        "held_out": [int((~unseen).sum()), int(unseen.sum())],
        "energy_of_known_classes": round(energies[~unseen].mean().item(), 4),
        "energy_of_the_unseen": round(energies[unseen].mean().item(), 4),
        "area_under_the_curve": _area(unseen, energies),
        "distance_to_the_mean": _area(unseen, from_the_mean),
    }


def _area(unseen: torch.Tensor, scores: torch.Tensor) -> float:
    return round(float(roc_auc_score(unseen.numpy(), scores.numpy())), 4)

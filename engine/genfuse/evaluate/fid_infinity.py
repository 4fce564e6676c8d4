"""The Fréchet distance without the bias that a finite number of samples has."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse.evaluate.features import check_features
from genfuse.evaluate.frechet import between, normal
from genfuse.evaluate.moments import Moments


@torch.no_grad()
def fid_infinity(
    features: Tensor, real: Tensor | Moments, *, sizes: int = 15, smallest: int | None = None, seed: int = 0
) -> Tensor:
    """What the distance of ``features`` from ``real`` would be with infinitely many samples.

    The bias of N samples is 1/N to first order: a line through the distances of subsets, over 1/N, meets the axis at
    the distance without it (Chong and Forsyth 2020, arXiv:1911.07023). The bias by ``real`` stays: two models
    compare where that is the same.

    Args:
        features: (N, D), those of the model.
        real: (M, D), or the Moments of all real ones.
        sizes: of subsets, evenly from ``smallest`` to N.
        smallest: subset, at least 2; None: N/5, or 2·D where that is more (N/2 where it
            is not there): near D and below it the bias is no multiple of 1/N.
        seed: of which samples are drawn into the subsets.

    Returns:
        (), float64; a little below 0 where there is no difference. Errors as :func:`frechet_distance`, and ValueError
        for a subset larger than N, or fewer than two sizes.
    """
    x = check_features("features", features, least=3)
    count = len(x)
    if smallest is None:
        smallest = min(max(count // 5, 2 * x.shape[1]), (count + 1) // 2)
    if not 2 <= smallest < count:
        raise ValueError(f"smallest is {smallest}, expected 2 to {count - 1}, below the number of samples")
    if sizes < 2:
        raise ValueError(f"sizes is {sizes}, expected 2 or more")
    of_real = normal("real", real)
    generator = torch.Generator().manual_seed(seed)
    taken = torch.linspace(smallest, count, sizes, dtype=torch.float64).round().long()
    distances = []
    for size in taken.tolist():
        subset = x[torch.randperm(count, generator=generator)[:size].to(x.device)]
        distances.append(between(*normal("features", subset), *of_real))
    over = torch.stack((torch.ones(sizes, dtype=torch.float64), 1 / taken.double()), 1)
    intercept: Tensor = torch.linalg.lstsq(over, torch.stack(distances)[:, None]).solution[0, 0]
    return intercept

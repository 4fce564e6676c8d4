"""How many different pictures a generator has, from how soon two of its samples are alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from genfuse.evaluate.neighbours import nearest, pairs_within


@dataclass(frozen=True)
class Birthday:
    """What `birthday` estimates.

    Attributes:
        pairs: of samples that are alike.
        batch: samples among which a pair that is alike is as likely as not.
        support: pictures that a generator has which makes each as often as any other, and as many pairs as this one.
        bound: no pair was found, so that batch and support are bounds from below, at 95 %.
    """

    pairs: int
    batch: float
    support: float
    bound: bool


def birthday(features: Tensor, distance: float) -> Birthday:
    """The birthday paradox test (Arora, Risteski and Zhang 2018, "Do GANs learn the distribution?").

    They draw batches until half of them hold a pair that a person takes for duplicates. Here a pair is alike within
    ``distance``, and all N(N − 1)/2 pairs are counted: the share of them that is alike is p, the chance of two samples;
    s samples hold none with the chance exp(−s(s − 1)/2·p), and the support is 1/p.

    Args:
        features: (N, D), floating, N at least 2.
        distance: what is alike; see `alike_within`.

    Raises:
        ValueError: too few samples, a feature is not finite, or ``distance`` is negative.
        TypeError: no floating tensor.
    """
    if not distance >= 0:
        raise ValueError(f"distance is {distance}, expected 0 or more")
    if len(features) < 2:
        raise ValueError(f"there are {len(features)} samples, expected at least 2")
    pairs = pairs_within(features, distance)
    among = len(features) * (len(features) - 1) / 2
    # Of 3 expected pairs none is seen in 5 % of all cases.
    chance = (pairs or -math.log(0.05)) / among
    return Birthday(pairs, 0.5 + math.sqrt(0.25 + 2 * math.log(2) / chance), 1 / chance, not pairs)


def alike_within(real: Tensor, share: float = 0.1) -> float:
    """The distance within which ``share`` of real samples (M, D) have another: pairs nearer than that count as alike.

    Hold a generator's numbers against those of the real samples themselves: data may have twins of its own.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, expected a share in [0, 1]")
    return torch.quantile(nearest(real, real, skip_own=True)[0][:, 0], share).item()

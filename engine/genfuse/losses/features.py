"""Losses on what a network sees in pictures, in the place of pixels: a critic's layers, mostly.

Features are one tensor (N, ...) or several, one a layer. Those of real pictures are the target: no gradient goes there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse.losses.batch import wide, wide_pair

Features = Tensor | Sequence[Tensor]


def feature_matching(real: Features, fake: Features) -> Tensor:
    """Σ over layers ‖E f(x) − E f(G(z))‖²₂ (Salimans et al. 2016, arXiv:1606.03498, section 3.1).

    real, fake  features of real and of fake pictures, (N, ...) and (M, ...): of the means alone, pictures need not
                belong together

    Returns (). ValueError or TypeError where layers differ in number or shape.
    """

    def of_layer(name: str, of_real: Tensor, of_fake: Tensor) -> Tensor:
        means = wide(f"real{name}", of_real).detach().mean(0), wide(f"fake{name}", of_fake).mean(0)
        if means[0].shape != means[1].shape:
            raise ValueError(
                f"fake{name} has shape {tuple(of_fake.shape)}, expected (N, *{tuple(means[0].shape)}) as real{name}"
            )
        return (means[1] - means[0]).square().sum()

    return torch.stack([of_layer(*layer) for layer in _layers(real, fake)]).sum()


def feature_matching_l1(real: Features, fake: Features) -> Tensor:
    """Σ over layers E |f(x) − f(G(s))| (Wang et al. 2018, pix2pixHD, arXiv:1711.11585, eq. 4).

    real, fake  features of real pictures and of those that are made from the same condition, (N, ...) alike

    Returns (). ValueError or TypeError where layers differ in number or shape.
    """

    def of_layer(name: str, of_real: Tensor, of_fake: Tensor) -> Tensor:
        found, target = wide_pair(f"fake{name}", of_fake, f"real{name}", of_real)
        return (found - target.detach()).abs().mean()

    return torch.stack([of_layer(*layer) for layer in _layers(real, fake)]).sum()


def _layers(real: Features, fake: Features) -> list[tuple[str, Tensor, Tensor]]:
    """Of each layer how its place is named, real and fake features."""
    if isinstance(real, Tensor) or isinstance(fake, Tensor):
        if not (isinstance(real, Tensor) and isinstance(fake, Tensor)):
            raise TypeError(
                f"real is {type(real).__name__}, fake is {type(fake).__name__}, expected two tensors or two lists"
            )
        return [("", real, fake)]
    if len(real) != len(fake) or not real:
        raise ValueError(f"real has {len(real)} layers, fake {len(fake)}, expected as many, at least one")
    return [(f"[{layer}]", *pair) for layer, pair in enumerate(zip(real, fake, strict=True))]

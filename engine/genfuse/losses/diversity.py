"""What is added to a generator's loss so that its samples differ."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.losses.batch import wide, wide_pair


def repelling(codes: Tensor) -> Tensor:
    """EBGAN's pulling-away term: 1/(N(N−1)) Σ_{i≠j} cos²(Sᵢ, Sⱼ), in [0, 1].

    Zhao et al. 2017 (arXiv:1609.03126), section 2.4.

    codes  (N, ...), N at least 2: of each fake sample what the autoencoder's encoder makes of it, any floating dtype

    Returns (); a code that is 0 is at right angles to all. ValueError or TypeError for other codes.
    """
    flat = wide("codes", codes).flatten(1) if codes.ndim > 1 else wide("codes", codes)[:, None]
    count = flat.shape[0]
    if count < 2:
        raise ValueError(f"codes has shape {tuple(codes.shape)}, expected at least two samples to compare")
    directions = F.normalize(flat, dim=1)
    cosines = directions @ directions.mT
    return 2 * torch.triu(cosines.square(), diagonal=1).sum() / (count * (count - 1))


def mode_seeking(
    images: Tensor, other_images: Tensor, latents: Tensor, other_latents: Tensor, *, epsilon: float = 1e-5
) -> Tensor:
    """1/(d(images)/d(latents) + ε), d the mean absolute difference: small where other latents give other pictures.

    Mao et al. 2019 (arXiv:1903.05628), section 3.2, turned into a loss as in the authors' code.

    images, other_images    (N, ...) alike: what the generator makes of the latents, the same condition given
    latents, other_latents  (N, ...) alike, drawn independently; no gradient goes to them
    epsilon                 bounds the loss where all pictures are equal; more than 0

    Returns (); 0, with no gradient, where the latents are equal. ValueError or TypeError for shapes that do not fit.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon is {epsilon}, expected more than 0")
    made, other_made = wide_pair("images", images, "other_images", other_images)
    drawn, other_drawn = wide_pair("latents", latents, "other_latents", other_latents)
    if made.shape[0] != drawn.shape[0]:
        raise ValueError(f"latents has {drawn.shape[0]} samples, expected {made.shape[0]} as images")
    of_images = (made - other_made).abs().mean()
    of_latents = (drawn - other_drawn).abs().mean().detach()
    bounded = of_images + epsilon * of_latents
    are_equal = bounded == 0  # latents and pictures: 0/0
    return torch.where(are_equal, 0, of_latents / torch.where(are_equal, 1, bounded))

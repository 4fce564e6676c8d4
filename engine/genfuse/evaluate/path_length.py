"""How far pictures move, as they are seen, when the latent that makes them moves a little."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genfuse.names import check_name

INTERPOLATIONS = ("lerp", "slerp")


@torch.no_grad()
def perceptual_path_length(
    generate: Callable[[Tensor], Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
    first: Tensor,
    second: Tensor,
    *,
    epsilon: float = 1e-4,
    interpolation: str = "lerp",
    discard: float = 0.01,
    batch_size: int = 64,
) -> Tensor:
    """Perceptual path length (Karras et al. 2019, arXiv:1812.04948, eq. 2), at the paths' beginnings.

    d(G(z), G(z′)) / ε², where z′ is ε of the way from z to another latent. Torchmetrics and torch-fidelity compute the
    same; theirs asks for torchvision, whatever the distance.

    Args:
        generate: latents (n, Z) to pictures (n, C, H, W) in [-1, 1]. Close over labels, or take them from z.
        distance: pictures twice to (n,), `PerceptualDistance` or any LPIPS.
        first, second: (N, Z) latents, the ends of N paths.
        epsilon: share of the way, above 0. Below 1e-4 float32 rounds the difference away.
        interpolation: "lerp", for latents like StyleGAN's w, or "slerp", for normal ones.
        discard: share of the shortest and of the longest that is left out of the mean.
        batch_size: paths at a time.

    Returns:
        (K,) float64, the lengths that are left: their mean is the number.

    Raises:
        ValueError: latents of two shapes, or an argument out of its range.
    """
    if first.shape != second.shape or first.ndim < 2 or not len(first):
        raise ValueError(
            f"second has shape {tuple(second.shape)}, expected that of first, {tuple(first.shape)}"
        )
    if not epsilon > 0 or not 0 <= discard < 0.5 or batch_size < 1:
        raise ValueError(
            f"epsilon is {epsilon}, discard {discard}, batch_size {batch_size}, "
            "expected above 0, in [0, 0.5), and 1 or more"
        )
    check_name("interpolation", interpolation, INTERPOLATIONS)
    lengths = []
    for start, end in zip(torch.split(first, batch_size), torch.split(second, batch_size), strict=True):
        moved = torch.lerp(start, end, epsilon) if interpolation == "lerp" else slerp(start, end, epsilon)
        x, y = generate(torch.cat((start, moved))).chunk(2)
        lengths.append(distance(x, y).double().cpu() / epsilon**2)
    lengths_of_all = torch.cat(lengths)
    least, most = (
        torch.quantile(lengths_of_all, share, interpolation="lower") for share in (discard, 1 - discard)
    )
    return lengths_of_all[(lengths_of_all >= least) & (lengths_of_all <= most)]


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """(N, Z) along the great circle between two latents (Shoemake 1985); straight where that has no direction."""
    x, y = (z / z.norm(dim=-1, keepdim=True).clamp(min=1e-7) for z in (first, second))
    cosine = (x * y).sum(-1, keepdim=True)
    straight = (
        (cosine.abs() > 1 - 1e-7)
        | (x.norm(dim=-1, keepdim=True) < 0.5)
        | (y.norm(dim=-1, keepdim=True) < 0.5)
    )
    angle = cosine.clamp(-1, 1).acos()
    sine = angle.sin().clamp(min=1e-7)
    curved = ((1 - share) * angle).sin() / sine * first + (share * angle).sin() / sine * second
    return torch.where(straight, torch.lerp(first, second, share), curved)

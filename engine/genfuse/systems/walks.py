"""Rows of latents that lie between others: what a generator learned shows in what it makes of them.

A walk takes latents (N, L) and labels (N,), and gives others, and how many of them are a row.
"""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 10
"""Pictures a row of an interpolation."""


def slerp(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Along the great circle from ``start`` to ``end``, (L,) both, at shares (S,) of the way → (S, L).

    Normal latents lie near a sphere, which a straight line would leave (White 2016, arXiv:1609.04468). Where both have
    one direction, or opposite ones, the line is straight.
    """
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=0).clamp(-1, 1)
    angle = torch.acos(cosine)
    s = shares[:, None]
    if torch.sin(angle) < 1e-4:
        return torch.lerp(start, end, s)
    return (torch.sin((1 - s) * angle) * start + torch.sin(s * angle) * end) / torch.sin(angle)


def interpolation(latents: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
    """N / STEPS rows, one at least, each from one sample's latents to the next one's, of the first one's class."""
    rows = max(1, len(latents) // STEPS)
    ends = latents[torch.arange(rows + 1) % len(latents)]
    shares = torch.linspace(0, 1, STEPS)
    walked = torch.cat([slerp(ends[row], ends[row + 1], shares) for row in range(rows)])
    return walked, labels[:rows].repeat_interleave(STEPS, 0), STEPS


def arithmetic(latents: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
    """Rows of a, b, c and a − b + c (Radford et al. 2016, section 6.3.2), of three samples each, of a's class.

    The sum of three is as long as one: it is scaled back to the sphere of normal latents.
    """
    rows = max(1, len(latents) // 4)
    a, b, c = (latents[(3 * torch.arange(rows) + place) % len(latents)] for place in range(3))
    total = (a - b + c) / 3**0.5
    return torch.stack((a, b, c, total), 1).flatten(0, 1), labels[:rows].repeat_interleave(4, 0), 4


def crossings(latents: Tensor) -> tuple[Tensor, int]:
    """Latents (2n, L), n of rows and n of columns → ((n + 1)², 2, L) in reading order, a row's and a column's each.

    The first column has the rows' own twice, the first row the columns' (Karras et al. 2019, figure 3), the corner 0.
    Returned with them is n + 1.
    """
    rows, columns = latents.chunk(2)
    side = len(rows) + 1
    grid = latents.new_zeros(side, side, 2, latents.shape[1])
    grid[1:, :, 0], grid[0, 1:, 0] = rows[:, None], columns
    grid[:, 1:, 1], grid[1:, 0, 1] = columns, rows
    return grid.flatten(0, 1), side

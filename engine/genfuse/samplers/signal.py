"""A node of a grid as papers on the variance-preserving process write it, whatever scale the sample is in."""

from __future__ import annotations

from typing import NamedTuple

from genfuse.samplers.combination import Float
from genfuse.samplers.grid import Grid


class Node(NamedTuple):
    """signal = alphas_cumprod, noise = 1 − alphas_cumprod, scale = the sample's standard deviation."""

    signal: float
    noise: float
    scale: float


def level(alpha: Float, sigma: Float) -> Node:
    """The node of x = alpha·x0 + sigma·noise."""
    power = float(alpha) ** 2 + float(sigma) ** 2
    return Node(float(alpha) ** 2 / power, float(sigma) ** 2 / power, power**0.5)


def node(grid: Grid, i: int) -> Node:
    """The grid's node i."""
    return level(grid.alpha[i], grid.sigma[i])

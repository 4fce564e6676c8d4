"""Nearest neighbours among features, a block at a time: memory does not grow with the product of their numbers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from genfuse.evaluate.features import check_features

HEIGHT, WIDTH = 2048, 2048
"""Queries and points of a block: its distances take 32 MiB."""


def nearest(queries: Tensor, points: Tensor, k: int = 1, *, skip_own: bool = False) -> tuple[Tensor, Tensor]:
    """The k nearest of ``points`` for each of ``queries``.

    Args:
        queries, points: (N, D) and (M, D), floating.
        k: neighbours, at most M.
        skip_own: point i is left out for query i, as where both are the same set; k is then at most M − 1.

    Returns:
        Euclidean distances (N, k) float64 and indices (N, k) int64, nearest first. Rows that rounding does not tell
        apart are at distance 0.

    Raises:
        ValueError: shapes do not fit, a feature is not finite, or there are no k neighbours.
        TypeError: one is no floating tensor.
    """
    _check(queries, points)
    there = len(points) - skip_own
    if not 1 <= k <= there:
        raise ValueError(f"k is {k}, expected 1 to {there}, the points that can be neighbours")
    squares = torch.full((len(queries), k), torch.inf, dtype=torch.float64)
    indices = torch.zeros(len(queries), k, dtype=torch.int64)
    for rows, columns, block in _blocks(queries, points, skip_own):
        names = torch.arange(columns.start, columns.stop).expand(len(block), -1)
        squares[rows], order = torch.cat((squares[rows], block), 1).topk(k, largest=False)
        indices[rows] = torch.cat((indices[rows], names), 1).gather(1, order)
    return squares.sqrt(), indices


def radii(points: Tensor, k: int) -> Tensor:
    """(N,) float64: from each of ``points`` the distance to the k-th nearest other. Errors as :func:`nearest`."""
    return nearest(points, points, k, skip_own=True)[0][:, -1]


def balls_around(queries: Tensor, points: Tensor, radii: Tensor) -> Tensor:
    """(N,) int64: in how many of the balls around ``points``, with these ``radii`` (M,), each of ``queries`` lies."""
    _check(queries, points)
    inside = torch.zeros(len(queries), dtype=torch.int64)
    for rows, columns, block in _blocks(queries, points):
        inside[rows] += (block <= radii[columns].square()).sum(1)
    return inside


def pairs_within(points: Tensor, distance: float) -> int:
    """How many pairs of ``points`` (N, D) are no further apart than ``distance``."""
    _check(points, points)
    both_ways = (int((block <= distance**2).sum()) for _, _, block in _blocks(points, points, skip_own=True))
    return sum(both_ways) // 2


def _check(queries: Tensor, points: Tensor) -> None:
    check_features("points", points, least=1)
    check_features("queries", queries, width=points.shape[1])


def _blocks(queries: Tensor, points: Tensor, skip_own: bool = False) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows, columns and the squared distances between them, block by block, in float64 on the CPU.

    ‖x‖² + ‖y‖² − 2x·y is one matrix product, from the points' mean, for large offsets would cost digits. What is below
    its rounding is 0: a copy is no distance away.
    """
    centre = points.double().mean(0).cpu()
    rounding = (points.shape[1] + 2) * torch.finfo(torch.float64).eps
    for top in range(0, len(queries), HEIGHT):
        rows = slice(top, min(top + HEIGHT, len(queries)))
        x = queries[rows].double().cpu() - centre
        of_x = x.square().sum(1, keepdim=True)
        for left in range(0, len(points), WIDTH):
            columns = slice(left, min(left + WIDTH, len(points)))
            y = points[columns].double().cpu() - centre
            sums = of_x + y.square().sum(1)
            squares = torch.addmm(sums, x, y.mT, alpha=-2)
            squares.masked_fill_(squares <= rounding * sums, 0)
            if skip_own:
                first, end = max(top, left), min(rows.stop, columns.stop)
                own = torch.arange(first, max(first, end))
                squares[own - top, own - left] = torch.inf
            yield rows, columns, squares

"""A distance between pictures as an encoder's layers see them, and how diverse pictures are by it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genfuse.evaluate.encoder import Encoder


class PerceptualDistance(nn.Module):
    """The distance of LPIPS (Zhang et al. 2018, arXiv:1801.03924, eq. 1) over the project's encoder, all weights 1.

    d(x, y) = Σ over layers of the mean over pixels of ‖x̂ − ŷ‖², where x̂ is a layer's map, the channels of each
    pixel scaled to length 1. Its numbers are its own: compare them with one another, not with LPIPS's networks'.

    Args:
        encoder: whose ``maps`` are compared, `genfuse.evaluate.encoder()`.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(N, 1 or 3, H, W) twice, in [-1, 1] → (N,) float32, 0 to 4 times the number of layers.

        ValueError where there is not one of ``y`` for each of ``x``; otherwise as the encoder.
        """
        if len(x) != len(y):
            raise ValueError(f"y has {len(y)} pictures, expected {len(x)}, one for each of x")
        maps = zip(self.encoder.maps(x), self.encoder.maps(y), strict=True)
        layers = [(_unit(a) - _unit(b)).square().sum(1).mean((1, 2)) for a, b in maps]
        return torch.stack(layers).sum(0)


def _unit(x: Tensor) -> Tensor:
    """Channels of each pixel scaled to length 1; a pixel where nothing is seen stays 0, and has a gradient."""
    return x * (x.square().sum(1, keepdim=True) + 1e-10).rsqrt()


@torch.no_grad()
def diversity(
    distance: nn.Module,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    pairs: int = 1000,
    seed: int = 0,
    batch_size: int = 128,
) -> tuple[float, float]:
    """The mean distance of random pairs of different pictures, and its standard error.

    Args:
        distance: (n, C, H, W) twice to (n,).
        images: (N, C, H, W), N at least 2.
        labels: (N,); pairs are then of one label: what a condition leaves open (Mao et al. 2019, MSGAN).
        pairs: drawn with replacement.
        seed: of the draw.
        batch_size: pairs at a time.

    Raises:
        ValueError: there is no pair, or an argument is out of its range.
    """
    if pairs < 2 or batch_size < 1:
        raise ValueError(f"pairs is {pairs} in batches of {batch_size}, expected 2 or more, of at least 1")
    first, second = _pairs(len(images), labels, pairs, torch.Generator().manual_seed(seed))
    seen = torch.cat(
        [
            distance(images[a], images[b]).double().cpu()
            for a, b in zip(torch.split(first, batch_size), torch.split(second, batch_size), strict=True)
        ]
    )
    return seen.mean().item(), (seen.std() / pairs**0.5).item()


def _pairs(
    count: int, labels: Tensor | None, pairs: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Two of (pairs,) indices: each first is any picture that has a partner, each second any other of its label."""
    labels = torch.zeros(count, dtype=torch.int64) if labels is None else labels.cpu()
    if len(labels) != count:
        raise ValueError(f"labels has shape {tuple(labels.shape)}, expected ({count},), one a picture")
    order = labels.argsort(stable=True)
    _, group, sizes = torch.unique_consecutive(labels[order], return_inverse=True, return_counts=True)
    partnered = (sizes[group] > 1).nonzero()[:, 0]
    if not len(partnered):
        raise ValueError(f"there are {count} pictures and no two of one label, expected a pair")
    place = partnered[torch.randint(len(partnered), (pairs,), generator=generator)]
    starts, size = (sizes.cumsum(0) - sizes)[group[place]], sizes[group[place]]
    step = 1 + (torch.rand(pairs, generator=generator, dtype=torch.float64) * (size - 1)).long()
    return order[place], order[starts + (place - starts + step) % size]

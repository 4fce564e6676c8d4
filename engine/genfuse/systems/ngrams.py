"""How often which tokens follow one another: what a model of text is measured by."""

from __future__ import annotations

import torch
from torch import Tensor


def bigrams(tokens: Tensor, vocabulary: int) -> Tensor:
    """(vocabulary, vocabulary) float32: how often each token follows each other in lines (N, L).

    Token 0 begins and ends a line: what follows the first end is not counted.
    """
    before = torch.nn.functional.pad(tokens[:, :-1], (1, 0))
    counted = live(tokens).bool()
    pairs = before[counted] * vocabulary + tokens[counted]
    return torch.bincount(pairs, minlength=vocabulary**2).reshape(vocabulary, vocabulary).float()


def live(tokens: Tensor) -> Tensor:
    """(N, L) float32: 1 up to a line's end, the token that ends it with it, then 0."""
    ended = (tokens == 0).long().cumsum(1)
    return (ended - (tokens == 0).long() == 0).float()


def jensen_shannon(counts: Tensor, other: Tensor) -> Tensor:
    """(): the divergence of two distributions in bits, from counts of one shape: 0 if equal, 1 if disjoint."""
    p, q = (each.flatten().double() / each.sum() for each in (counts, other))
    mean = (p + q) / 2
    terms = [torch.xlogy(each, each) - torch.xlogy(each, mean) for each in (p, q)]
    return (terms[0] + terms[1]).sum() / 2 / torch.log(torch.tensor(2.0, dtype=torch.float64))


def known(tokens: Tensor, others: Tensor, length: int) -> float:
    """The share of runs of ``length`` tokens in lines (N, L) that occur in other lines: BLEU's precision, unclipped."""
    found = _grams(tokens, length)
    other = set(_grams(others, length))
    return sum(gram in other for gram in found) / max(1, len(found))


def _grams(tokens: Tensor, length: int) -> list[tuple[int, ...]]:
    """Of every line, whose end counts as a token."""
    kept = [row[: int(count)] for row, count in zip(tokens.tolist(), live(tokens).sum(1), strict=True)]
    return [tuple(row[at : at + length]) for row in kept for at in range(len(row) - length + 1)]

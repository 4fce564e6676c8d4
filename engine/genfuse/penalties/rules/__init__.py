"""The tangent rules, one file a kind of layer; importing them registers them."""

from __future__ import annotations

from genfuse.penalties.rules import (
    activation,
    arithmetic,
    attention,
    biased_activation,
    dropout,
    elementary,
    norm,
    ops,
    pooling,
    product,
    reduction,
    resampling,
    shape,
    softmax,
)
from genfuse.penalties.rules.rule import COMPOSITIONS, RULES

__all__ = [
    "COMPOSITIONS",
    "RULES",
    "activation",
    "arithmetic",
    "attention",
    "biased_activation",
    "dropout",
    "elementary",
    "norm",
    "ops",
    "pooling",
    "product",
    "reduction",
    "resampling",
    "shape",
    "softmax",
]

"""The C library's functions over arrays, element by element.

numpy vectorises them with roundings that depend on the processor. These are what `csrc/samplers` calls too, so
that a table has the same bits in Python and in C.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def log(values: ArrayLike) -> Array:
    """−inf at 0, NaN below it."""
    return _each(lambda x: math.log(x) if x > 0 else (-math.inf if x == 0 else math.nan), values)


def exp(values: ArrayLike) -> Array:
    """inf where it overflows."""
    return _each(_exp, values)


def power(values: ArrayLike, exponent: float) -> Array:
    """x^exponent of positive x."""
    return _each(lambda x: math.pow(x, exponent), values)


def quotient(x: float, y: float) -> float:
    """x/y as C has it: infinite or NaN by 0, which a table's check refuses by row and column."""
    return float(np.float64(x) / y)


def expm1(x: float) -> float:
    """e^x − 1 of one number; inf where it overflows."""
    try:
        return math.expm1(x)
    except OverflowError:
        return math.inf


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _each(function: Callable[[float], float], values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    return np.array([function(x) for x in array.ravel().tolist()], dtype=np.float64).reshape(array.shape)

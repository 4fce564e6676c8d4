"""What a solver's options may be: by the type of their defaults, and ranges that several of them share."""

from __future__ import annotations

import math
from typing import Any, SupportsIndex

import numpy as np

from genfuse.ops import check


def check_option(name: str, value: Any, default: Any) -> None:
    """Whether a value may stand where `default` does.

    A bool for a bool, an int for an int, a finite number for a float (any but NaN where the default is
    infinite), something callable for a function, else an instance of the default's class. Options without a
    default, names and collections are the solver's own to check. TypeError, or ValueError for NaN and inf.
    """
    if isinstance(default, bool):
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} is {value!r}, expected True or False")
    elif isinstance(default, int):
        if isinstance(value, bool) or not isinstance(value, SupportsIndex):
            raise TypeError(f"{name} is {value!r}, expected an int")
    elif isinstance(default, float):
        check.number(name, value)
        if math.isnan(value) or (math.isinf(value) and not math.isinf(default)):
            raise ValueError(f"{name} is {value}, expected a finite number")
    elif callable(default):
        if not callable(value):
            raise TypeError(f"{name} is {value!r}, expected a function")
    elif not isinstance(default, str | tuple | None) and not isinstance(value, type(default)):
        raise TypeError(f"{name} is {value!r}, expected a {type(default).__name__}")


def check_not_negative(name: str, value: float) -> None:
    """ValueError for a number below 0, or NaN."""
    if not value >= 0:
        raise ValueError(f"{name} is {value}, expected at least 0")


def check_positive(name: str, value: float) -> None:
    """ValueError for 0, a number below it, or NaN."""
    if not value > 0:
        raise ValueError(f"{name} is {value}, expected more than 0")


def check_share(name: str, value: float) -> None:
    """ValueError outside [0, 1], or for NaN."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}, expected a number in [0, 1]")

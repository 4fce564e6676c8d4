"""What the entries of a scheduler's configuration may be: by their defaults' types, and by name."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter
from typing import Any

from genfuse.samplers.options import check_option, check_positive


def check_entry(parameter: Parameter, value: Any) -> None:
    """TypeError where a value is not of the default's kind, ValueError where it is out of its range.

    None stands where the argument's annotation has it. Names are the class' own to check.
    """
    if value is None and "None" in str(parameter.annotation):
        return
    check_option(parameter.name, value, parameter.default)
    if parameter.name in _RANGES:
        check_option(parameter.name, value, 1.0)
        _RANGES[parameter.name](parameter.name, value)


def _check_ratio(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"{name} is {value}, expected more than 0 and at most 1")


def _check_threshold(name: str, value: float) -> None:
    if not value >= 1:
        raise ValueError(f"{name} is {value}, expected at least 1: thresholds grow from 1 up to it")


_RANGES: dict[str, Callable[[str, float], None]] = {
    "clip_sample_range": check_positive,
    "dynamic_thresholding_ratio": _check_ratio,
    "flow_shift": check_positive,
    "rho": check_positive,
    "sample_max_value": _check_threshold,
    "shift": check_positive,
    "sigma_data": check_positive,
    "sigma_max": check_positive,
    "sigma_min": check_positive,
    "timestep_scaling": check_positive,
}

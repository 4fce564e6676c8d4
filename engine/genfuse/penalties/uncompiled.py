"""Functions that torch.compile does not look into."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def uncompiled(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorator: torch.compile breaks its graph around a call, and nothing of it becomes a graph.

    `torch.compiler.disable` does so too, but imports Dynamo where it decorates: with genfuse.
    """

    @wraps(function)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        if not torch.compiler.is_compiling():
            return function(*args, **kwargs)
        eagerly: Callable[_Arguments, _Result] = torch.compiler.disable(function)
        return eagerly(*args, **kwargs)

    return call

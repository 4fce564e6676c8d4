"""The modules that a network runs, as far as a function shows them."""

from __future__ import annotations

import inspect
from functools import partial
from types import FunctionType, MethodType

from torch import nn


def modules_of(network: object) -> list[nn.Module]:
    """A module itself; of a function those that it names: variables, and attributes of objects around it."""
    if isinstance(network, nn.Module):
        return [network]
    if isinstance(network, partial):
        bound = [network.func, *network.args, *network.keywords.values()]
        return [module for each in bound for module in modules_of(each)]
    around = [network.__self__] if isinstance(network, MethodType) else []
    named: list[object] = []
    function = getattr(network, "__func__", network)
    if isinstance(function, FunctionType):
        variables = inspect.getclosurevars(function)
        around += variables.nonlocals.values()
        named += variables.globals.values()
    for each in around:
        named += [each] if isinstance(each, nn.Module) else getattr(each, "__dict__", {}).values()
    return [each for each in named if isinstance(each, nn.Module)]

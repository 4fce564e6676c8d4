"""Calls whose tensors fit: a training loop's next step is not asked what the one before has answered."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.compiler import is_compiling

from genfuse.ops.library import PLAIN

_Found = TypeVar("_Found")

Key = tuple[Hashable, ...]


class Passed(Generic[_Found]):
    """What checks found, by all that they looked at; the calls that fit, and no others."""

    _MOST = 4096

    def __init__(self) -> None:
        self._found: dict[Key, _Found] = {}

    def get(self, key: Key | None) -> _Found | None:
        """None where the call has to be checked."""
        return None if key is None else self._found.get(key)

    def add(self, key: Key | None, found: _Found) -> _Found:
        """Of a call that fits."""
        if key is not None:
            if len(self._found) >= self._MOST:
                self._found.clear()
            self._found[key] = found
        return found


def forms(given: Iterable[Tensor | None]) -> Key | None:
    """Shape, dtype and device of each tensor; None while a call is traced, and where one is no plain dense tensor."""
    if is_compiling():
        return None
    found: list[Hashable] = []
    for each in given:
        if each is None:
            found.append(None)
        elif type(each) in PLAIN and each.layout is torch.strided and not each.is_nested:
            found.append((each.shape, each.dtype, each.device))
        else:
            return None
    return tuple(found)

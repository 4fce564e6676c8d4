"""Kernels that users have registered, by op: what `dispatch` asks before its own rule. `genfuse.lab` fills it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import torch


class UserKernel(Protocol):
    """A kernel from outside."""

    strict: bool
    """whether a call that it declines raises, and does not run on another"""

    def obstacle(self, device: torch.device, dtype: torch.dtype) -> str | None:
        """Why it does not run on such tensors; None where it does."""

    def launcher(self) -> Callable[..., None]:
        """What runs, made anew where the file has changed; raises `UnsupportedError` for a call that it declines."""

    def __str__(self) -> str:
        """The file, for messages."""


_kernels: dict[str, list[UserKernel]] = {}
_lock = threading.Lock()


def add(op: str, kernel: UserKernel) -> None:
    """From now on an op's, before one that was registered earlier."""
    with _lock:
        _kernels.setdefault(op, []).append(kernel)


def remove(op: str, kernel: UserKernel) -> None:
    """The one registered before it comes back; nothing happens where it is not there any more."""
    with _lock:
        kept = [each for each in _kernels.get(op, ()) if each is not kernel]
        if kept:
            _kernels[op] = kept
        else:
            _kernels.pop(op, None)


def of(op: str) -> UserKernel | None:
    """The op's, the last one that was registered."""
    found = _kernels.get(op)
    return found[-1] if found else None


def is_empty() -> bool:
    """Whether no op has any."""
    return not _kernels

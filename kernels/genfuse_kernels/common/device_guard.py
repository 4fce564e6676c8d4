"""Triton launches on the thread's current GPU, whichever has the tensors.

With another one current, a kernel would read from there what it may not, or what it has not waited for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import torch

_Result = TypeVar("_Result")


def on_device(device: torch.device, launch: Callable[..., _Result]) -> Callable[..., _Result]:
    """`launch`, with `device` the current GPU while it runs where that is another."""
    if device.type != "cuda" or device.index in (None, torch.cuda.current_device()):
        return launch

    @functools.wraps(launch)
    def there(*arguments: object, **options: object) -> _Result:
        with torch.cuda.device(device):
            return launch(*arguments, **options)

    return there

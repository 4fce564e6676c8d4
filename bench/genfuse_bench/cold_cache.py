"""Caches without anything of the competitor in them: what a call costs that others' work came before."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch

UNKNOWN, MOST = 64 * 2**20, 2**29
"""Bytes of the last cache where the machine does not tell; and no more than this is believed."""


def flush_of(device: torch.device) -> Callable[[], object]:
    """A call that writes twice as many bytes as the device's last cache holds, on all of PyTorch's threads."""
    buffer = torch.zeros(2 * min(_last_cache(device), MOST) // 4, device=device)
    return lambda: buffer.add_(1)


@functools.cache
def _last_cache(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", UNKNOWN))
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((_bytes(size.read_text()) for size in sizes), default=UNKNOWN)


def _bytes(size: str) -> int:
    """Of Linux's "32768K"."""
    text = size.strip()
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    return int(text.rstrip("KMG")) * units.get(text[-1], 1)

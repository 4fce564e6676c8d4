"""glibc told to keep freed memory, so that fresh tensors are not paid for in page faults.

Without it each large tensor that PyTorch allocates is mapped and faulted in anew. That would flatter an
engine that allocates nothing: a bench has to take it away from both sides.
"""

from __future__ import annotations

import ctypes
import functools

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_SETTINGS = {_M_MMAP_THRESHOLD: 2**30, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 2**28}


@functools.cache
def keep_freed_memory() -> str:
    """Raise the thresholds for the rest of this process; says in words what came of it."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return "allocator as it is (no mallopt here)"
    done = all(mallopt(parameter, value) for parameter, value in _SETTINGS.items())
    return "glibc keeps freed memory" if done else "allocator as it is (mallopt refused)"

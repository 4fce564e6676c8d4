"""A stand-in for CUDA graphs: what a function gives to the device is written down, and repeated without the function.

As in a capture, what would wait for the device or read host memory is refused; as in a replay, Python does not run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.item.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten._unique2.default,
}
"""Operations whose result the host has to have."""

FROM_HOST = {aten.lift_fresh.default, aten._pin_memory.default}
"""Operations on what the host has just made; on CUDA a copy from its memory."""


class Recorder(TorchDispatchMode):
    """Runs and keeps every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func is aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        if func in WAITS or func in FROM_HOST or by_mask:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        if func is aten._to_copy.default and "device" in (kwargs or {}):
            raise RuntimeError(f"operation not permitted when stream is capturing: {func} to another device")
        made = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, made))
        return made

    def replay(self) -> None:
        """All again, into the same memory."""
        for func, args, kwargs, made in self.calls:
            if func.is_view:
                continue
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old is not new:
                    old.copy_(new)

    def names(self) -> list[str]:
        """The operations but views, in order."""
        return [str(func) for func, *_ in self.calls if not func.is_view]


RECORDED: list[Recorder] = []
"""Of all captures, the newest last."""


def capture(row: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Stands in for `cuda_graph.capture`, warm-up included."""
    row()
    recorder = Recorder()
    with recorder:
        row()
    RECORDED.append(recorder)
    return recorder.replay

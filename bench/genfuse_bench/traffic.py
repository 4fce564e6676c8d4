"""The memory that genfuse's kernels move, counted call by call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

from torch import Tensor
from torch.utils._pytree import tree_leaves

from genfuse import dispatch
from genfuse_kernels.common import packed_weights
from genfuse_kernels.conv_norm_act import spec
from genfuse_kernels.conv_norm_act.settings import Settings


class Traffic:
    """In a `with` block, counts what the calls that select their kernel there move; `backends` says who ran them.

    A network counts at its first call, which makes its plan. What it leaves to PyTorch's own ops is not in it.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.backends: set[str] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Traffic:
        select = dispatch.select

        def counting(*arguments: Any, **options: Any) -> Callable[..., None]:
            launch = select(*arguments, **options)
            self.backends.add(launch.__module__.rpartition(".")[2].removesuffix("_impl"))
            return lambda *args, **tensors: self._counted(launch, args, tensors)

        self._stack.enter_context(mock.patch.object(dispatch, "select", counting))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _counted(self, launch: Callable[..., None], args: tuple[Any, ...], tensors: dict[str, Any]) -> None:
        before = packed_weights.on_use.get()
        packed: dict[int, int] = {}

        def use(weights: tuple[Tensor, ...], made: Tensor | tuple[Tensor, ...]) -> None:
            packed[id(weights[0])] = sum(tensor.nbytes for tensor in tree_leaves(made))
            if before is not None:
                before(weights, made)

        token = packed_weights.on_use.set(use)
        try:
            launch(*args, **tensors)
        finally:
            packed_weights.on_use.reset(token)
        given = [value for value in (*args, *tensors.values()) if isinstance(value, Tensor)]
        images = sum(tensor.nbytes for tensor in given if id(tensor) not in packed)
        self.bytes += spec.bytes_moved(images, sum(packed.values()), _measured(args, tensors))


def _measured(args: tuple[Any, ...], tensors: dict[str, Any]) -> int:
    """Bytes of the images of a unit that are read once more, for the statistics of its norm."""
    settings = next((value for value in args if isinstance(value, Settings)), None)
    if settings is None or not spec.measures(settings, tensors.get("running_mean"), tensors.get("stats")):
        return 0
    x, skip = args[2], tensors.get("skip")  # behind out and stats_out
    return int(x.nbytes) + (0 if skip is None else int(skip.nbytes))

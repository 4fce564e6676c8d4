"""What the CUDA kernels of `genfuse_bench.card_cuda_calls` move: one line of JSON an instantiation.

    PYTHONPATH=tests python -m cuda_proof.moved float16

The calls run on the host emulation, compiled so that each access is counted. Of several calls that launch an
instantiation the first counts. bfloat16 touches what float16 does.
"""

from __future__ import annotations

import ctypes
import functools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cuda_proof.build import build_kernel, build_recorder, build_scheduler
from genfuse_bench.call import Call
from genfuse_bench.card_cuda_calls import cuda_calls
from genfuse_bench.moved import SECTOR, Moved
from genfuse_bench.recorded import kept
from genfuse_kernels.common import cuda_launch
from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_walk import THREADS
from genfuse_kernels.cuda_kernels import cases

Extents = list[tuple[int, int]]


class _Made(TorchDispatchMode):
    """Keeps what a call allocates."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = function(*arguments, **(options or {}))
        self.tensors += [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        return result


class Recorder:
    """Kernels on the host that count what they touch; a call's launches, by instantiation."""

    def __init__(self, folder: Path) -> None:
        scheduler = build_scheduler(None, folder / "scheduler.o")
        counting = build_recorder(folder / "recorder.o")

        @functools.cache
        def of(kernel: Kernel) -> ctypes.CDLL:
            path = folder / f"{kernel.function}-{abs(hash(kernel))}.so"
            library = ctypes.CDLL(str(build_kernel(kernel, scheduler, path, recorder=counting)))
            library.recorded_bytes.restype = library.recorded_sectors.restype = ctypes.c_uint64
            return library

        self._library = of
        self._names = {case.kernel: case.name for case in cases()}

    def moved(self, call: Call, dtype: str) -> Iterator[Moved]:
        """Each instantiation that the call launches."""
        found: dict[Kernel, Moved] = {}
        own = call.tensors()
        touched_in_call: set[tuple[int, int, int]] = set()
        with _Made() as made:

            def launch(
                kernel: Kernel,
                blocks: int,
                arguments: NDArray[np.void],
                device: torch.device,
                threads: int = THREADS,
                shared: int = 0,
            ) -> None:
                tensors = [*own, *made.tensors]
                extents = _apart(tensors)
                of = self._run(kernel, extents, blocks, arguments, shared)
                touched = {
                    (i, stores): _sectors(of, i, stores) for i in range(len(extents)) for stores in (0, 1)
                }
                live = {(*extents[i], stores) for (i, stores), sectors in touched.items() if sectors}
                touched_in_call.update(live)
                row = Moved(
                    kernel.function,
                    self._names.get(kernel, "?"),
                    dtype,
                    blocks,
                    of.recorded_bytes(),
                    SECTOR * sum(touched.values()),
                    _whole(tensors, live),
                    (call.flops or 0) if kernel.op == "conv_norm_act" and kernel.macros else 0,
                    0,
                    0,
                )
                before = found.get(kernel)
                found[kernel] = row if before is None else _sum(before, row)

            with instead_of_launch(launch):
                returned = call.run()
        touched = sum(row.touched for row in found.values())
        minimum = _whole(call.tensors(returned), touched_in_call)
        for row in found.values():
            yield replace(row, call_touched=touched, call_minimum=minimum)

    def _run(
        self, kernel: Kernel, extents: Extents, blocks: int, arguments: NDArray[np.void], shared: int
    ) -> ctypes.CDLL:
        of = self._library(kernel)
        starts, ends = (np.array(side, np.uint64) for side in zip(*extents, strict=True))
        address = ctypes.c_void_p
        of.record_extents(
            address(starts.ctypes.data), address(ends.ctypes.data), ctypes.c_size_t(len(extents))
        )
        of.emulate(ctypes.c_uint(blocks), 0, address(arguments.ctypes.data), ctypes.c_size_t(shared))
        return of


def _sectors(of: ctypes.CDLL, extent: int, stores: int) -> int:
    return int(of.recorded_sectors(ctypes.c_size_t(extent), stores))


def _bounds(tensor: Tensor) -> tuple[int, int]:
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _apart(tensors: list[Tensor]) -> Extents:
    """Where they lie, sorted, those that overlap as one."""
    found: Extents = []
    for start, end in sorted(_bounds(tensor) for tensor in tensors if tensor.numel()):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _whole(tensors: list[Tensor], live: set[tuple[int, int, int]]) -> int:
    """Bytes of the tensors in each extent that is loaded (start, end, 0) or stored (start, end, 1), views once."""
    total = 0
    for start, end, _ in live:
        inside = [t.nbytes for t in tensors if t.numel() and start <= t.data_ptr() < end]
        total += max(inside, default=0)
    return total


def _sum(a: Moved, b: Moved) -> Moved:
    """Of two launches; a tensor that both touch counts twice, as it is moved twice."""
    names = ("blocks", "requested", "touched", "minimum")
    return replace(a, **{name: getattr(a, name) + getattr(b, name) for name in names})


def instead_of_launch(launch: Callable[..., None]) -> Any:
    """Every module's own name for `cuda_launch.launch`."""
    from contextlib import ExitStack

    stack = ExitStack()
    for module in list(sys.modules.values()):
        if getattr(module, "launch", None) is cuda_launch.launch and module is not cuda_launch:
            stack.enter_context(mock.patch.object(module, "launch", launch))
    return stack


def main() -> None:
    """Of one dtype."""
    torch.set_num_threads(1)
    (dtype,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder))
        for row in kept(
            "cuda", cuda_calls(getattr(torch, dtype)), dtype, partial(recorder.moved, dtype=dtype)
        ):
            print(json.dumps(asdict(row)), flush=True)


if __name__ == "__main__":
    main()

"""What the Triton kernels of `genfuse_bench.card_calls` move: one line of JSON a kernel and case.

    PYTHONPATH=tests python -m triton_proof.moved float16

The calls run under the interpreter, which changes no address. bfloat16 touches what float16 does.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.lab import interpreter
from genfuse_bench.call import Call
from genfuse_bench.card_calls import all_calls
from genfuse_bench.moved import SECTOR, Moved
from genfuse_bench.recorded import kept


def moved(call: Call, dtype: str) -> Iterator[Moved]:
    """Each of the call's kernels that has a card."""
    interpreter.within_reach[:] = call.tensors()
    with interpreter.record() as traffic:
        own = [_bounds(tensor) for tensor in call.tensors(call.run()) if tensor.numel()]
    touched = [launch.touched() for launch in traffic.each]
    bytes_touched = [sum(sectors(addresses) for addresses in both) for both in touched]
    by_kernel: dict[str, list[int]] = defaultdict(list)
    for i, launch in enumerate(traffic.each):
        name = call.named(launch.kernel)
        if name is not None:
            by_kernel[name].append(i)
    for kernel, numbers in by_kernel.items():
        launches = [traffic.each[i] for i in numbers]
        extents = {extent for launch in launches for extent in launch.extents}
        yield Moved(
            kernel,
            call.case,
            dtype,
            sum(launch.programs for launch in launches),
            sum(launch.requested for launch in launches),
            sum(bytes_touched[i] for i in numbers),
            _whole(extents, own, [touched[i] for i in numbers]),
            sum(launch.flops for launch in launches) if call.flops is None else call.flops,
            sum(bytes_touched),
            _whole(set(), own, touched),
        )


def sectors(addresses: NDArray[np.int64]) -> int:
    """Bytes of the sectors that hold the addresses, each once."""
    return SECTOR * int(np.unique(addresses // SECTOR).size)


def _bounds(tensor: Tensor) -> tuple[int, int, int]:
    """Where it starts and ends, and the bytes of its elements."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size(), tensor.nbytes


def _whole(
    extents: set[tuple[int, int]],
    own: list[tuple[int, int, int]],
    touched: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> int:
    """Bytes of the tensors, a call's `own` and others at `extents`, that are loaded, and of those that are stored."""
    others = [
        (start, end, end - start)
        for start, end in extents
        if not any(start < to and first < end for first, to, _ in own)
    ]
    total = 0
    for addresses in (np.concatenate(side) for side in zip(*touched, strict=True)):
        for start, end, nbytes in (*own, *others):
            total += nbytes if ((addresses >= start) & (addresses < end)).any() else 0
    return total


def main() -> None:
    """Of one dtype."""
    torch.set_num_threads(1)
    (dtype,) = sys.argv[1:]
    for row in kept("triton", all_calls(getattr(torch, dtype)), dtype, partial(moved, dtype=dtype)):
        print(json.dumps(asdict(row)), flush=True)


if __name__ == "__main__":
    main()

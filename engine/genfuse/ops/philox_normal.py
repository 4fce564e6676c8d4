"""`philox_normal`: normal noise that depends on seed, row, stream and element alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.library import LIBRARY, define, fake, needs_dispatcher
from genfuse_kernels.philox_normal.spec import DTYPES, STREAM_INIT


def philox_normal(
    seeds: Tensor,
    shape: Sequence[int],
    *,
    row: int | Tensor = 0,
    stream: int = STREAM_INIT,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Standard normal noise by Philox4x32-10 and Box–Muller (Salmon et al., SC11).

    seeds   (N,) int64, one 64-bit key a sample; the result is on its device
    shape   (N, ...), the noise of sample n depends on seeds[n] and the element's (C, H, W) index alone: not
            on N, the other samples, threads, memory format or backend
    row     in [0, 2³²), or int64 (N,): the sampler's row that the noise belongs to
    stream  in [0, 2³²): what the noise is for (`STREAM_*` in `genfuse_kernels.philox_normal.spec`)
    dtype   float32, float64, bfloat16 or float16

    Returns the noise, accurate to 1e-6·max(1, |n|) in float32. ValueError or TypeError for anything else.
    """
    if len(shape) < 1 or min(shape) < 0:
        raise ValueError(f"shape is {tuple(shape)}, expected (N, ...) with no negative size")
    if seeds is None:
        raise TypeError(f"seeds is None, expected an int64 tensor ({shape[0]},)")
    check.seeds(seeds, shape[0])
    check.word("stream", stream)
    if dtype not in DTYPES:
        raise TypeError(f"dtype is {dtype}, expected one of {', '.join(str(d) for d in DTYPES)}")
    if math.prod(shape[1:]) >= 2**66:
        raise ValueError(f"shape is {tuple(shape)}: a sample has more elements than the counter has blocks")
    if not isinstance(row, Tensor):
        check.word("row", row)
    if needs_dispatcher(seeds):
        rows = row if isinstance(row, Tensor) else None
        first = 0 if isinstance(row, Tensor) else row
        noise: Tensor = torch.ops.genfuse.philox_normal(seeds, list(shape), rows, first, stream, dtype)
        return noise.contiguous(memory_format=memory_format)
    out = torch.empty(tuple(shape), dtype=dtype, device=seeds.device, memory_format=memory_format)
    _launch(out, seeds, row, stream)
    return out


def _launch(out: Tensor, seeds: Tensor, row: int | Tensor, stream: int) -> None:
    if isinstance(row, Tensor):
        check.index("row", row, out.shape[0], 2**32, out)
        check.in_range("row", row, 2**32, "a word")
    dispatch.select("philox_normal", out.device, out.dtype)(out, seeds, row, stream)


define(
    "philox_normal(Tensor seeds, SymInt[] shape, Tensor? rows, SymInt row, int stream, ScalarType dtype) "
    "-> Tensor"
)


@torch.library.impl(LIBRARY, "philox_normal", "CompositeExplicitAutograd")
def _philox_normal(
    seeds: Tensor, shape: list[int], rows: Tensor | None, row: int, stream: int, dtype: torch.dtype
) -> Tensor:
    out = torch.empty(shape, dtype=dtype, device=seeds.device)
    _launch(out, seeds, row if rows is None else rows, stream)
    return out


@fake("philox_normal")
def _fake(
    seeds: Tensor, shape: list[int], rows: Tensor | None, row: int, stream: int, dtype: torch.dtype
) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=seeds.device)

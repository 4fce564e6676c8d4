"""The gradient of a unit's weights in CUDA: GEMMs whose sums run over the pixels of all samples.

    dW[a, b, tap] = Σ dense[n, a, pixel]·gathered[n, b, what the pixel meets with the tap]

Of a convolution the output's gradient is dense and what it read is gathered, of a transposed one the reverse. What the
convolution read is made again from x as it is staged, once a pixel of a tile. Blocks that share weights take spans of
tiles, and a second kernel adds these in order; on their way, where it is dense, the output's gradient is summed over
space, for bias and shift, which read it no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common import planes
from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_launch import launch
from genfuse_kernels.common.cuda_tile import THREADS
from genfuse_kernels.conv_norm_act.axes import Axis
from genfuse_kernels.conv_norm_act.cuda_arguments import ARGUMENTS, set_axes, source
from genfuse_kernels.conv_norm_act.cuda_conv import are_chunked
from genfuse_kernels.conv_norm_act.cuda_norm import norm_table
from genfuse_kernels.conv_norm_act.cuda_plan import CHUNK_BYTES, precision_of
from genfuse_kernels.conv_norm_act.cuda_weight_plan import WeightTile, spans, weight_axes, weight_tile
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors, kernel_size

if TYPE_CHECKING:
    from typing_extensions import Unpack

WEIGHT_ARGUMENTS = np.dtype(
    [
        ("of", ARGUMENTS),
        ("partial", "u8"),
        *((name, "i8") for name in ("row", "splits", "span", "tiles")),
        *((name, "i8") for name in ("taps", "tap_blocks", "chunks", "chunk_blocks")),
        ("sums", "u8"),
    ]
)
"""The kernel's `WeightGradientArguments`."""

FOLD_ARGUMENTS = np.dtype(
    [
        ("out", "u8"),
        ("partial", "u8"),
        *((name, "i8") for name in ("splits", "numel", "taps", "inputs", "row", "adds")),
        *((name, "u8") for name in ("sums", "of_tiles")),
        *((name, "i8") for name in ("count", "parts", "samples", "channels")),
    ]
)
"""The kernel's `FoldWeightsArguments`."""

_SUM_LANES = 32  # sums of a block: csrc/conv_norm_act/cuda_fold_weights.cu


class _Partial(NamedTuple):
    """What the blocks of weights leave.

    of_weights  of each span, (splits, A, taps, row) float32
    inputs      a group's gathered channels, of which `row` are these in whole chunks
    of_tiles    sums of the dense image over a tile's pixels, (tiles of as many samples, parts of each, samples, A)
                float32; None: nobody needs them
    """

    of_weights: Tensor
    inputs: int
    row: int
    of_tiles: Tensor | None


def weight_gradient(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    settings: Settings,
    *,
    into: Tensor | None = None,
    sums: Tensor | None = None,
    **tensors: Unpack[UnitTensors],
) -> Tensor:
    """The gradient of `weight`, of its shape, in float32. Any strides.

    gradient  of what the convolution put out, in x's dtype
    into      float32 and contiguous: what it is added to, and returned
    sums      (N, K) float32 and contiguous: filled with the gradient's sums over space, of what `takes_sums` says

    ValueError where what a block reads does not fit shared memory, as `cuda_weight_plan.weight_limit` says beforehand.
    """
    if gradient.numel() == 0:
        if sums is not None:
            sums.zero_()
        return torch.zeros(weight.shape, dtype=torch.float32, device=x.device) if into is None else into
    out = torch.empty(weight.shape, dtype=torch.float32, device=x.device) if into is None else into
    skip = tensors.get("skip")
    # Both live until the launch.
    table = norm_table(x, skip, settings, tensors).channels
    read = source(x, skip, None, table, settings)
    of_gradient = source(gradient, None, None, None, Settings(groups=settings.groups))
    dense, gathered = (read, of_gradient) if settings.transposed else (of_gradient, read)
    images = [gradient, x] if skip is None else [gradient, x, skip]
    _fold(out, into is not None, sums, _partial(dense, gathered, images, weight, settings, sums is not None))
    return out


def takes_sums(settings: Settings) -> bool:
    """Whether `weight_gradient` has the gradient's sums: of a transposed convolution tiles of it overlap."""
    return not settings.transposed


def _fold(out: Tensor, adds: bool, sums: Tensor | None, of: _Partial) -> None:
    """The spans and tiles added in order."""
    partial, of_tiles = of.of_weights, of.of_tiles
    splits, numel = partial.shape[0], partial[0].numel()
    arguments = np.zeros((), FOLD_ARGUMENTS)
    arguments["out"], arguments["partial"] = out.data_ptr(), partial.data_ptr()
    arguments["splits"], arguments["numel"], arguments["taps"] = splits, numel, partial.shape[2]
    arguments["inputs"], arguments["row"], arguments["adds"] = of.inputs, of.row, adds
    blocks = -(-numel // (4 * THREADS))
    if sums is not None and of_tiles is not None:
        arguments["sums"], arguments["of_tiles"] = sums.data_ptr(), of_tiles.data_ptr()
        arguments["count"] = sums.numel()
        arguments["parts"], arguments["samples"], arguments["channels"] = of_tiles.shape[1:]
        blocks += -(-sums.numel() // _SUM_LANES)
    kernel = Kernel("conv_norm_act", torch.float32, "planes", False, "fold_weights")
    launch(kernel, blocks, arguments, out.device, THREADS)


def _partial(
    dense: Any, gathered: Any, images: list[Tensor], weight: Tensor, s: Settings, sums: bool
) -> _Partial:
    """By a launch of blocks that share weights and tiles."""
    gradient, x = images[:2]
    made, size = (gradient, x)[s.transposed].shape[2:], (x, gradient)[s.transposed].shape[2:]
    axes = weight_axes(s, kernel_size(weight.shape), (made[0], made[1]))
    outputs, inputs = weight.shape[0] // s.groups, weight.shape[1]
    tile = weight_tile(axes, outputs, inputs, x.dtype)
    if tile is None:
        raise ValueError(f"what a kernel {tuple(weight.shape)} reads of a block does not fit shared memory")
    in_chunk = CHUNK_BYTES // x.element_size()
    chunks, taps = -(-inputs // in_chunk), axes[0].taps * axes[1].taps
    units = -(-taps // tile.taps), -(-chunks // tile.chunks)
    output_blocks = s.groups * -(-outputs // tile.outputs)
    *of_sample, tiles = tile.tiles((made[0], made[1]), x.shape[0])
    blocks = output_blocks * units[0] * units[1]
    splits, span = spans(tiles, tile.samples << tile.rows + tile.columns, blocks)
    partial = torch.empty(
        (splits, weight.shape[0], taps, chunks * in_chunk), dtype=torch.float32, device=x.device
    )
    arguments = np.zeros((), WEIGHT_ARGUMENTS)
    _set_sources(arguments["of"], dense, gathered, axes, tile, size, in_chunk, s)
    of = arguments["of"]
    for name, exponent, count, axis in zip(
        ("rows", "columns"), (tile.rows, tile.columns), of_sample, axes, strict=True
    ):
        of[name] = axis.made, exponent, count, 0, 1
    of["batch"], of["samples"], of["slope"] = x.shape[0], tile.samples, s.negative_slope
    of["outputs"], of["all_outputs"], of["output_blocks"] = outputs, weight.shape[0], output_blocks
    arguments["partial"], arguments["row"] = partial.data_ptr(), chunks * in_chunk
    arguments["splits"], arguments["span"], arguments["tiles"] = splits, span, tiles
    arguments["taps"], arguments["tap_blocks"] = tile.taps, units[0]
    arguments["chunks"], arguments["chunk_blocks"] = tile.chunks, units[1]
    of_tiles = None
    if sums:
        parts, of_batch = of_sample[0] * of_sample[1] * tile.sum_parts, -(-x.shape[0] // tile.samples)
        of_tiles = torch.empty(
            (of_batch, parts, tile.samples, weight.shape[0]), dtype=torch.float32, device=x.device
        )
        arguments["sums"] = of_tiles.data_ptr()
    kernel = Kernel(
        "conv_norm_act",
        x.dtype,
        "channels_last" if are_chunked(images, outputs, inputs) else "planes",
        any(planes.reach(image) >= planes.INT32_LIMIT for image in images),
        "weight_gradient",
        tile.macros(precision_of(x.dtype, s.accuracy)),
    )
    launch(kernel, splits * blocks, arguments, x.device, tile.threads, tile.shared_bytes(axes, x.dtype))
    return _Partial(partial, inputs, chunks * in_chunk, of_tiles)


def _set_sources(
    of: Any,
    dense: Any,
    gathered: Any,
    axes: tuple[Axis, Axis],
    tile: WeightTile,
    size: Any,
    in_chunk: int,
    s: Settings,
) -> None:
    """Where both are read: a dense pixel for each that is made."""
    alone = Axis(0, 1, 0, 1, 1, 0, 1, 0, 1)
    rows, columns = (alone._replace(made=axis.made) for axis in axes)
    set_axes(dense, (rows, columns), tile, (rows.made, columns.made), (1, 1))
    set_axes(gathered, axes, tile, size, s.upsample)
    dense["ring"], gathered["ring"] = tile.outputs // in_chunk, tile.chunks
    of["source"][0], of["source"][1] = gathered, dense

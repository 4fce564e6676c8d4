"""`linear` by the C++ kernels: the rows are pixels of a channels-last image, the weight a 1x1 kernel."""

from __future__ import annotations

from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.conv_norm_act.cpu_impl import convolution, run, weights_for
from genfuse_kernels.conv_norm_act.settings import Settings

_WIDTHS = (*range(72, 97), *range(48, 72))
"""Pixels of a row of that image: enough that a row's epilogue costs little, few enough for many units."""


def linear(
    out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings, residual: Tensor | None
) -> None:
    """Fill `out`; see `spec`. Shapes, dtypes and devices are the caller's to check."""
    conv = convolution((*weight.shape, 1, 1), settings, x.dtype, (1, 1), _cpu.isa())
    weights = weights_for(conv, settings, weight)
    for first, stop, width in _pieces(x.shape[0]):
        added = None if residual is None else _image(residual.contiguous()[first:stop], width)
        to, rows = _image(out[first:stop], width), _image(x.contiguous()[first:stop], width)
        run(conv, weights, to, None, rows, bias, settings, residual=added)


def _pieces(rows: int) -> list[tuple[int, int, int]]:
    """(first row, stop, width): one image where a width divides the rows, else one more with the rest."""
    width = next((width for width in _WIDTHS if rows % width == 0), min(rows, _WIDTHS[0]))
    whole = rows // width * width
    pieces = [(0, whole, width), (whole, rows, rows - whole)]
    return [piece for piece in pieces if piece[2]]


def _image(rows: Tensor, width: int) -> Tensor:
    """(M, C) as (1, C, M/width, width)."""
    return rows.view(-1, width, rows.shape[1]).permute(2, 0, 1)[None]

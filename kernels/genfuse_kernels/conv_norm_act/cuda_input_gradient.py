"""The gradients of what a unit's prologue reads, in CUDA; `norm_gradient` has the mathematics.

The kernel that makes the gradient of what the convolution read has x beside it as it writes. Where statistics are
constants it writes the gradient of x itself; else it takes the sums over space on its way, and one pass remains, which
needs them. Where pixels are repeated behind the activation all of it follows in passes of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from torch import Tensor

from genfuse_kernels.conv_norm_act.cuda_arguments import Read
from genfuse_kernels.conv_norm_act.cuda_data_gradient import data_gradient, read_back
from genfuse_kernels.conv_norm_act.cuda_norm import norm_table
from genfuse_kernels.conv_norm_act.cuda_norm_gradient import Passes, read_gradient
from genfuse_kernels.conv_norm_act.cuda_plan import folds_upsampling
from genfuse_kernels.conv_norm_act.norm_sums import gradients_of, has_constant_stats, of_channels
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors


def input_gradient(
    gradient: Tensor,
    weight: Tensor,
    x: Tensor,
    settings: Settings,
    tensors: UnitTensors,
    *,
    through_stats: bool,
    needs: Collection[str],
) -> dict[str, Tensor]:
    """The gradients that `needs` names, from that of what the convolution put out; see `norm_sums.gradients_of`."""
    s = settings
    options = {"through_stats": through_stats, "needs": needs}
    if s.padding_mode == "zeros" and folds_upsampling(s):
        return gradients_of(partial(_found, weight), gradient, x, s, tensors, **options)  # type: ignore[arg-type]
    of_read = data_gradient(gradient, weight, s, (x.shape[2], x.shape[3]))
    return read_gradient(of_read, x, s, tensors, **options)  # type: ignore[arg-type]


def _found(
    weight: Tensor,
    gradient: Tensor,
    x: Tensor,
    settings: Settings,
    tensors: UnitTensors,
    through_stats: bool,
    wanted: Collection[str],
) -> dict[str, Tensor]:
    s, skip = settings, tensors.get("skip")
    table = norm_table(x, skip, s, tensors)
    constant = has_constant_stats(s, tensors, through_stats)
    images = [name for name in ("x", "skip") if name in wanted]
    summed = not constant or len(images) < len(wanted)
    size = x.shape[2], x.shape[3]
    read = Read(x, skip, table.channels, s.activation, summed, constant)
    made, sums = read_back(gradient, weight, s, size, read)
    found: dict[str, Tensor] = {}
    means = None
    if sums is not None:
        found, means = of_channels(sums, size[0] * size[1], s, table, tensors, wanted)
    if constant:
        found |= {"x": made[:, : x.shape[1]], "skip": made[:, x.shape[1] :]}
    elif images:
        Passes(made, x, skip, s, tensors, table).run(found, images, means, False)
    return found

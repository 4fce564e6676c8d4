"""`conv_norm_act` on tensors that nobody traces: from checked arguments to a kernel."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops.conv_call import NAMES, TENSORS
from genfuse.ops.conv_geometry import convolved_size, output_size
from genfuse.ops.library import needs_dispatcher
from genfuse.ops.memory import empty, empty_stats
from genfuse_kernels.conv_norm_act import cuda_plan
from genfuse_kernels.conv_norm_act.cuda_weight_plan import weight_limit
from genfuse_kernels.conv_norm_act.settings import Pair, Settings, UnitTensors, kernel_size
from genfuse_kernels.conv_norm_act.spec import cpu_gradient_limit, cpu_limit


def launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: Settings,
    tensors: UnitTensors,
    return_stats: bool,
    *,
    trains: bool = False,
) -> tuple[Tensor, Tensor]:
    """Output and statistics, empty where not wanted, by the backend that the rule chooses.

    trains   whether backward may follow, on the backend that takes both
    """
    out, stats_out = outputs(x, weight, settings, return_stats)
    found = limits(x, weight, settings) | ({} if trains else underfilled(x, weight, settings))
    kernel = dispatch.select("conv_norm_act", x.device, x.dtype, limits=found)
    if x.shape[0]:
        kernel(out, stats_out if return_stats else None, x, weight, bias, settings, **tensors)
    return out, stats_out


def unkept(weight: Tensor) -> AbstractContextManager[None]:
    """Inside, nothing that the CPU's kernels make of a weight that trains is kept."""
    if weight.device.type != "cpu":
        return nullcontext()
    from genfuse_kernels.common.packed_weights import passing  # needs the extension

    return passing(weight)


def launch_unkept(
    settings: Settings, return_stats: bool, inputs: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """`launch` in training, inputs by `NAMES`: nothing that is made of the weights is kept."""
    of: Any = dict(zip(NAMES, inputs, strict=True))
    with unkept(of["weight"]):
        if needs_dispatcher(*inputs):
            result: tuple[Tensor, Tensor] = torch.ops.genfuse.conv_norm_act(*inputs, *settings, return_stats)
            return result
        tensors: Any = {name: of[name] for name in TENSORS}
        return launch(of["x"], of["weight"], of["bias"], settings, tensors, return_stats, trains=True)


def limits(
    x: Tensor, weight: Tensor, settings: Settings, gradients: bool = False
) -> dict[dispatch.Backend, str]:
    """Why backends do not run such a convolution, of those that x's device has."""
    if x.device.type == "cpu":
        limit = (cpu_gradient_limit if gradients else cpu_limit)(weight.shape, settings)
        return {} if limit is None else {"cpu": limit}
    shape, size, made = _sizes(x, weight, settings)
    why = _cuda_limit(shape, settings, size, made, gradients)
    return {} if why is None else {"cuda": why}


@functools.lru_cache(4096)
def _cuda_limit(
    weight_shape: tuple[int, ...], settings: Settings, size: Pair, made: Pair, gradients: bool
) -> str | None:
    if gradients:  # pooling is a pass of its own then
        settings = settings._replace(pool=(1, 1))
    why = cuda_plan.limit(weight_shape, settings, made)
    if gradients and why is None:
        dense = size if settings.transposed else made
        why = cuda_plan.back_limit(weight_shape, settings, size) or weight_limit(
            weight_shape, settings, dense
        )
    return why


def underfilled(x: Tensor, weight: Tensor, settings: Settings) -> dict[dispatch.Backend, str]:
    """Why Triton leaves an image that the rule would give it to CUDA: of a small one it has too few programs.

    By one picture, whatever the batch, as a sample's bits may not depend on who else is in it. Not in training, whose
    batches fill a device mostly, nor in what `torch.compile` traced, which may be part of it; nor where a backend is
    forced, or measurements choose, which know the batch.
    """
    if x.device.type != "cuda" or dispatch.forced() is not None or not dispatch.is_reproducible():
        return {}
    both: tuple[dispatch.Backend, ...] = ("triton", "cuda")
    if any(dispatch.obstacle("conv_norm_act", name, x.device, x.dtype) is not None for name in both):
        return {}
    shape, _, made = _sizes(x, weight, settings)
    why = _underfilled(shape, settings, made, x.dtype)
    return {} if why is None else {"triton": why}


@functools.lru_cache(4096)
def _underfilled(
    weight_shape: tuple[int, ...], settings: Settings, made: Pair, dtype: torch.dtype
) -> str | None:
    if cuda_plan.limit(weight_shape, settings, made) is not None:
        return None
    from genfuse_kernels.conv_norm_act import triton_plan  # needs Triton

    programs = triton_plan.programs_of_one(weight_shape, settings, made, dtype)
    blocks, segments = cuda_plan.blocks_of_one(weight_shape, settings, made, dtype)
    if segments == 1 or 2 * programs >= cuda_plan.BUSY or blocks <= programs:
        return None
    return (
        f"one picture is {programs} programs, fewer than half of a device's multiprocessors; cuda, which splits its "
        f"sums, has {blocks} blocks"
    )


def _sizes(x: Tensor, weight: Tensor, settings: Settings) -> tuple[tuple[int, ...], Pair, Pair]:
    """The weight's shape; height and width of what a convolution reads, and of what it makes before pooling.

    Numbers, where a traced call has symbols: a plan is of these sizes alone.
    """
    size = (1 if x.ndim == 3 else int(x.shape[2])), int(x.shape[-1])
    shape = tuple(map(int, weight.shape))
    return shape, size, convolved_size(settings, kernel_size(shape), size)


def outputs(x: Tensor, weight: Tensor, settings: Settings, return_stats: bool) -> tuple[Tensor, Tensor]:
    """Room for both."""
    channels = weight.shape[1] * settings.groups if settings.transposed else weight.shape[0]
    height, width = output_size(settings, kernel_size(weight.shape), (x.shape[2], x.shape[3]))
    last = x.stride(1) == 1 and x.shape[1] > 1
    out = empty(x, (x.shape[0], channels, height, width), x.dtype, channels_last=last)
    return out, empty_stats(x, channels, return_stats)

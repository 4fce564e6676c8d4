"""`norm_stats`: mean and variance over space, where several units read the same input."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.conv_checks import check_axes
from genfuse.ops.library import LIBRARY, define, fake, needs_dispatcher, needs_gradient
from genfuse.ops.memory import empty_stats
from genfuse_kernels.norm_stats import reference


def norm_stats(x: Tensor) -> Tensor:
    """Mean and biased variance over space, as `conv_norm_act` and `norm_act` take them for `stats`.

    x   (N, C, H, W) or (N, C, L) float32, bfloat16 or float16, or any dtype on `aten`; planar and channels-last
        without a copy

    Returns (N, C, 2), float32, or float64 where x is: the same whatever the batch, the threads and the memory format.
    Differentiable by PyTorch's own kernels. ValueError or TypeError for what is no picture.
    """
    check_axes(x)
    if min(x.shape[1:]) < 1:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected channels and pixels")
    x = x.unsqueeze(2) if x.ndim == 3 else x
    if needs_dispatcher(x):
        stats: Tensor = torch.ops.genfuse.norm_stats(x)
        return stats
    return _launch(x)


def stats_of(x: Tensor, skip: Tensor | None) -> Tensor:
    """Of the channels of both, as a norm over them measures; without a graph."""
    if skip is not None:
        check.sample("skip", skip)
    with torch.no_grad():
        parts = [norm_stats(part) for part in (x, skip) if part is not None]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _launch(x: Tensor) -> Tensor:
    stats = empty_stats(x, x.shape[1], True)
    dispatch.select("norm_stats", x.device, x.dtype)(stats, x)
    return stats


# --- registration ---

define("norm_stats(Tensor x) -> Tensor")


@torch.library.impl(LIBRARY, "norm_stats", "CPU")
@torch.library.impl(LIBRARY, "norm_stats", "CUDA")
def _norm_stats(x: Tensor) -> Tensor:
    return _launch(x)


@fake("norm_stats")
def _fake(x: Tensor) -> Tensor:
    return empty_stats(x, x.shape[1], True)


@torch.library.impl(LIBRARY, "norm_stats", "Autograd")
def _autograd(x: Tensor) -> Tensor:
    if needs_gradient(x):
        dispatch.select("norm_stats", x.device, x.dtype, gradients=True)
        return reference.norm_stats(x if x.dtype == torch.float64 else x.float())
    with torch._C._AutoDispatchBelowAutograd():
        stats: Tensor = torch.ops.genfuse.norm_stats(x)
    return stats

"""The table of `norm_table` by CUDA kernels: csrc/conv_norm_act/cuda_channel_table.cu, cuda_pixel_table.cu."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_launch import launch
from genfuse_kernels.common.cuda_tile import COLUMNS, THREADS, columns, power_of_two
from genfuse_kernels.common.cuda_walk import OPERAND, operand_field
from genfuse_kernels.common.planes import as_planes, fit
from genfuse_kernels.conv_norm_act.norm_table import Table, is_identity
from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings
from genfuse_kernels.norm_stats.cuda_impl import norm_stats

PARAMETER = np.dtype([("data", "u8"), ("batch", "i8"), ("channel", "i8"), ("wide", "i8")])
"""The kernel's `Parameter`."""

_PARAMETERS = ("norm_weight", "norm_bias", "film_scale", "film_shift")

TABLE_ARGUMENTS = np.dtype(
    [
        ("table", "u8"),
        ("stats", "u8"),
        *((name, PARAMETER) for name in ("mean", "var", *_PARAMETERS)),
        *((name, "i8") for name in ("channels", "sets", "members", "set_stride", "member_stride", "lanes")),
        ("eps", "f8"),
    ]
)
"""The kernel's `ChannelTableArguments`."""

PIXEL_ARGUMENTS = np.dtype(
    [
        ("table", "u8"),
        ("x", OPERAND),
        ("skip", OPERAND),
        ("channels", "i8"),
        ("skip_channels", "i8"),
        ("rms", "i8"),
        ("eps", "f8"),
        ("columns", COLUMNS),
    ]
)
"""The kernel's `PixelTableArguments`."""

TABLE_FIELD = np.dtype([(name, "i8") for name in ("channels", "pixels", "table_channels", "first_channel")])
"""The kernels' `TableArguments`."""


def table_field(table: Table, channels: int, first_channel: int) -> tuple[int, int, int, int]:
    """`TABLE_FIELD`, of an image whose channels are the table's from `first_channel` on."""
    of_channels, of_pixels = (0 if part is None else part.data_ptr() for part in table)
    return of_channels, of_pixels, channels, first_channel


def norm_table(x: Tensor, skip: Tensor | None, s: Settings, tensors: NormTensors) -> Table:
    """Of what a unit does to x and skip before it is activated."""
    if is_identity(s, tensors):
        return Table(None, None)
    of_pixel = s.norm in ("layer_pixel", "rms_pixel")
    batch, channels = x.shape[0], x.shape[1] + (0 if skip is None else skip.shape[1])
    mean = var = stats = None
    if s.norm != "none" and not of_pixel:
        mean, var = tensors.get("running_mean"), tensors.get("running_var")
        if mean is None:
            given = tensors.get("stats")
            stats = (_measured(x, skip) if given is None else given).contiguous()
    sets, members, set_stride, member_stride = batch * channels, 1, 1, 1
    if stats is not None and s.norm == "batch":
        sets, members, member_stride = channels, batch, channels
    elif stats is not None:
        groups = {"layer": 1, "group": s.num_groups}.get(s.norm, channels)
        sets, members = batch * groups, channels // groups
        set_stride = members
    lanes = min(power_of_two(members), 32)
    table = torch.empty((batch, channels, 4), dtype=torch.float32, device=x.device)
    arguments = np.array(
        (
            table.data_ptr(),
            0 if stats is None else stats.data_ptr(),
            *(_parameter(of, x) for of in (mean, var)),
            *(_parameter(tensors.get(name), x) for name in _PARAMETERS),  # type: ignore[arg-type]
            channels,
            sets,
            members,
            set_stride,
            member_stride,
            lanes,
            s.eps,
        ),
        dtype=TABLE_ARGUMENTS,
    )
    kernel = Kernel("conv_norm_act", x.dtype, "planes", False, "channel_table")
    launch(kernel, -(-sets * lanes // THREADS), arguments, x.device, THREADS)
    return Table(table, _pixel_table(x, skip, s) if of_pixel else None)


def _measured(x: Tensor, skip: Tensor | None) -> Tensor:
    """Statistics (N, C, 2) of the channels of x and skip."""
    found = []
    for part in (x,) if skip is None else (x, skip):
        found.append(torch.empty((*part.shape[:2], 2), dtype=torch.float32, device=x.device))
        norm_stats(found[-1], part)
    return found[0] if len(found) == 1 else torch.cat(found, 1)


def _parameter(tensor: Tensor | None, x: Tensor) -> tuple[int, int, int, int]:
    """`PARAMETER` of (C,) or (N, C), in x's dtype or float32."""
    if tensor is None:
        return 0, 0, 0, 0
    batch = tensor.stride(0) if tensor.ndim == 2 else 0
    return tensor.data_ptr(), batch, tensor.stride(-1), int(tensor.dtype == torch.float32)


def _pixel_table(x: Tensor, skip: Tensor | None, s: Settings) -> Tensor:
    x, skip = as_planes(x), fit(skip)
    batch, positions = x.shape[0], x.shape[2] * x.shape[3]
    plan = columns([x] if skip is None else [x, skip], positions)
    table = torch.empty((batch, positions, 2), dtype=torch.float32, device=x.device)
    arguments = np.array(
        (
            table.data_ptr(),
            operand_field(x),
            operand_field(skip),
            x.shape[1],
            0 if skip is None else skip.shape[1],
            int(s.norm == "rms_pixel"),
            s.eps,
            plan.sizes,
        ),
        dtype=PIXEL_ARGUMENTS,
    )
    kernel = Kernel("conv_norm_act", x.dtype, plan.order, plan.wide, "pixel_table")
    launch(kernel, plan.blocks, arguments, x.device, THREADS)
    return table

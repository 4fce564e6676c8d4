"""Single units: a norm, an activation and a convolution as networks stack them, and as one call of genfuse."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from genfuse.ops import conv_norm_act
from genfuse_bench.workload import Workload, workload
from genfuse_kernels.conv_norm_act.settings import Accuracy


class GroupNormUnit(nn.Module):
    """GroupNorm(32) + SiLU + conv3x3 + bias + residual, C to C channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        y: Tensor = self.conv(nn.functional.silu(self.norm(x))) + residual
        return y

    def ours(self, x: Tensor, residual: Tensor, *, accuracy: Accuracy | None) -> Tensor:
        """The same as one call."""
        return _call(
            x,
            self.conv,
            norm="group",
            num_groups=32,
            norm_weight=self.norm.weight,
            norm_bias=self.norm.bias,
            activation="silu",
            residual=residual,
            accuracy=accuracy,
        )


class TransposedUnit(nn.Module):
    """BatchNorm (of inference) + ReLU + 4x4 transposed convolution of stride 2, as DCGAN's generator stacks them."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.ConvTranspose2d(channels, outputs, 4, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(nn.functional.relu(self.norm(x)))
        return y

    def ours(self, x: Tensor, *, accuracy: Accuracy | None) -> Tensor:
        """The same as one call."""
        return _call(
            x,
            self.conv,
            norm="batch",
            running_mean=self.norm.running_mean,
            running_var=self.norm.running_var,
            norm_weight=self.norm.weight,
            norm_bias=self.norm.bias,
            activation="relu",
            accuracy=accuracy,
        )


class Convolution(nn.Module):
    """A convolution alone: nothing is gained by fusion."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y

    def ours(self, x: Tensor, *, accuracy: Accuracy | None) -> Tensor:
        """The same as one call."""
        return _call(x, self.conv, accuracy=accuracy)


def group_norm_unit(n: int, c: int, size: int) -> Workload:
    """The diffusion U-Net's unit at (n, c, size, size)."""
    shape = n, c, size, size
    inputs = torch.randn(shape), torch.randn(shape)
    return workload("unit", shape, GroupNormUnit(c), inputs, 9 * c)


def transposed_unit(n: int, c: int, k: int, size: int) -> Workload:
    """DCGAN's upsampling of (n, c, size, size) to k channels."""
    module = TransposedUnit(c, k)
    return workload("transposed", (n, c, k, size), module, (torch.randn(n, c, size, size),), 4 * c)


def convolution(name: str, n: int, size: int, conv: nn.Conv2d | nn.ConvTranspose2d) -> Workload:
    """A convolution of n pictures of size x size; its shape is (n, C, K, size)."""
    c, k = conv.in_channels, conv.out_channels
    reduction = c // conv.groups * conv.kernel_size[0] * conv.kernel_size[1]
    if isinstance(conv, nn.ConvTranspose2d):
        reduction //= conv.stride[0] * conv.stride[1]
    inputs = (torch.randn(n, c, size, size),)
    return workload(name, (n, c, k, size), Convolution(conv), inputs, max(reduction, c // conv.groups))


def _call(x: Tensor, conv: nn.Conv2d | nn.ConvTranspose2d, **arguments: Any) -> Tensor:
    mode: Any = conv.padding_mode  # the names are PyTorch's
    assert not isinstance(conv.padding, str)
    y = conv_norm_act(
        x,
        conv.weight,
        conv.bias,
        stride=(conv.stride[0], conv.stride[1]),
        padding=(conv.padding[0], conv.padding[1]),
        groups=conv.groups,
        transposed=conv.transposed,
        padding_mode=mode,
        **arguments,
    )
    assert isinstance(y, Tensor)
    return y

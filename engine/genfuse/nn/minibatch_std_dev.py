"""Minibatch standard deviation: a critic's look at how its samples differ."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genfuse.ops import check

_EPS = 1e-8


class MinibatchStdDev(nn.Module):
    """Appends channels that hold the mean deviation over a group of samples (Karras et al. 2018, section 3).

    group_size     samples of a group, as many of them as the batch has where it is smaller; None: the batch. A group's
                   samples lie N / group_size apart, as in StyleGAN2
    num_channels   how many parts of the channels have a mean, and a channel behind x, of their own

    x (N, C, H, W), N a multiple of the group's size and C of num_channels, gives (N, C + num_channels, H, W) by
    PyTorch's own kernels, deviations in float32 or float64. ValueError or TypeError for others.
    """

    def __init__(self, group_size: int | None = 4, num_channels: int = 1) -> None:
        if group_size is not None:
            check.count("group_size", group_size)
        check.count("num_channels", num_channels)
        super().__init__()
        self.group_size, self.num_channels = group_size, num_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C + num_channels, H, W)."""
        check.sample("x", x)
        if x.ndim != 4 or min(x.shape[1:]) < 1 or x.shape[1] % self.num_channels:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, expected (N, C, H, W), C a multiple of {self.num_channels}"
            )
        batch, channels, height, width = x.shape
        if batch == 0:
            return torch.cat([x, x.new_empty(0, self.num_channels, height, width)], 1)
        group = batch if self.group_size is None else min(self.group_size, batch)
        if batch % group:
            raise ValueError(f"x has {batch} samples, expected a multiple of the group's size, {group}")
        wide = x if x.dtype == torch.float64 else x.float()
        parts = wide.reshape(group, -1, self.num_channels, channels // self.num_channels, height, width)
        deviation = (parts.var(0, correction=0) + _EPS).sqrt().mean((2, 3, 4))
        appended = deviation.to(x.dtype).repeat(group, 1)[:, :, None, None]
        return torch.cat([x, appended.expand(-1, -1, height, width)], 1)

    def extra_repr(self) -> str:
        """As `torch.nn` shows it."""
        return f"group_size={self.group_size}, num_channels={self.num_channels}"

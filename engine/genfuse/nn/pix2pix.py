"""pix2pix's generator (Isola et al. 2017, arXiv:1611.07004, section 3.2.1): a U-Net from picture to picture."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from genfuse.nn.conv_norm_act import ConvNormAct
from genfuse.nn.patch_critic import initialise
from genfuse.ops import check

_STEP: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}


class Pix2PixGenerator(nn.Module):
    """(N, in_channels, H, W), seeds (N,) → (N, out_channels, H, W) in [-1, 1]; H and W divisible by 2^len(channels).

    4x4 convolutions of stride 2 down and transposed ones up, with batch norm and LeakyReLU or ReLU between them. What
    the way down has of a resolution stands behind what the way up has of it. The noise z is dropout of a half at the
    ``noisy`` coarsest resolutions on the way up, by each sample's seed, in evaluation too.

    Args:
        in_channels: of the picture that is given.
        out_channels: of the one that is made.
        channels: of each resolution, finest first.
        noisy: resolutions with dropout.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        channels: tuple[int, ...] = (64, 128, 256, 512),
        noisy: int = 2,
    ) -> None:
        super().__init__()
        check.counts("channels", channels)
        check.count("noisy", noisy, 0)
        self.down = nn.ModuleList(
            ConvNormAct(
                above,
                below,
                **_STEP,
                norm="batch" if place > 1 else "none",
                activation="leaky_relu" if place else "none",
                negative_slope=0.2,
            )
            for place, (above, below) in enumerate(pairwise((in_channels, *channels)))
        )
        widths = (out_channels, *channels)
        self.up = nn.ModuleList(
            ConvNormAct(
                widths[level] if level == len(channels) else 2 * widths[level],
                widths[level - 1],
                **_STEP,
                transposed=True,
                norm="none" if level == len(channels) else "batch",
                activation="relu",
                dropout=0.5 if len(channels) - noisy <= level < len(channels) else 0.0,
                dropout_stream=level,
                out_activation="tanh" if level == 1 else "none",
            )
            for level in range(len(channels), 0, -1)
        )
        self.apply(initialise)

    def forward(self, x: Tensor, seeds: Tensor) -> Tensor:
        """The picture that is made of x; seeds (N,) int64."""
        kept: list[Tensor] = []
        for unit in self.down:
            x = unit(x)
            kept.append(x)
        for unit, skip in zip(self.up, (None, *reversed(kept[:-1])), strict=True):
            x = unit(x, skip=skip, seeds=seeds)
        return x

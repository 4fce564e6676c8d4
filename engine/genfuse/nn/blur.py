"""Twice as large or half as large through a low-pass filter, as style GANs resample features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genfuse.ops import check
from genfuse.ops.upfirdn2d import downsampling_padding, upfirdn2d, upsampling_padding


def low_pass(taps: Sequence[float], factor: int) -> Tensor:
    """Taps over their sum, (taps,) float32. ValueError or TypeError for fewer than `factor`, and a sum of 0."""
    for place, tap in enumerate(taps):
        check.finite(f"taps[{place}]", tap)
    if len(taps) < factor or sum(taps) == 0:
        raise ValueError(f"taps is {taps!r}, expected at least factor, {factor}, of a sum that is not 0")
    return torch.tensor(taps, dtype=torch.float32) / sum(taps)


class _Blur(nn.Module):
    filter: Tensor

    def __init__(self, taps: Sequence[float] = (1, 3, 3, 1), factor: int = 2) -> None:
        check.count("factor", factor)
        super().__init__()
        self.factor = factor
        self.register_buffer("filter", low_pass(taps, factor), persistent=False)

    def extra_repr(self) -> str:
        """As `torch.nn` shows it."""
        return f"taps={len(self.filter)}, factor={self.factor}"


class BlurUpsample(_Blur):
    """Each side `factor` times as large, by the outer product of `taps` over their sum, as bright, on `upfirdn2d`.

    x (N, C, H, W) gives (N, C, H·factor, W·factor). ValueError or TypeError for others.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H·factor, W·factor)."""
        padding = upsampling_padding(len(self.filter), self.factor) * 2
        return upfirdn2d(x, self.filter, up=self.factor, padding=padding, gain=self.factor**2)


class BlurDownsample(_Blur):
    """Each side a `factor`-th as large, filtered by the outer product of `taps` over their sum, on `upfirdn2d`.

    x (N, C, H, W), H and W `factor` or more, gives (N, C, H // factor, W // factor). ValueError or TypeError else.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H // factor, W // factor)."""
        padding = downsampling_padding(len(self.filter), self.factor) * 2
        return upfirdn2d(x, self.filter, down=self.factor, padding=padding)

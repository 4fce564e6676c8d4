"""From a style GAN's features to a picture."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from genfuse.nn.blur import BlurUpsample
from genfuse.nn.modulated_conv2d import ModulatedConv2d


class ToRGB(nn.Module):
    """A modulated 1x1 convolution without demodulation, added to the smaller picture before (Karras et al. 2020, 7b).

    in_channels, style_dim, clamp   as `ModulatedConv2d`
    out_channels  of the picture
    up            how much smaller the picture before is; `taps` filter it as it grows
    """

    def __init__(
        self,
        in_channels: int,
        style_dim: int,
        out_channels: int = 3,
        *,
        up: int = 2,
        clamp: float | None = None,
        taps: Sequence[float] = (1, 3, 3, 1),
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(
            in_channels, out_channels, 1, style_dim, demodulate=False, bias=True, clamp=clamp
        )
        self.upsample = BlurUpsample(taps, up)

    def forward(self, x: Tensor, w: Tensor, picture: Tensor | None = None) -> Tensor:
        """x (N, C, H, W), w (N, style_dim) and picture (N, out_channels, H/up, W/up) → (N, out_channels, H, W)."""
        y: Tensor = self.conv(x, w)
        return y if picture is None else y + self.upsample(picture)

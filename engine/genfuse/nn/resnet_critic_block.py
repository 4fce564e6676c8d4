"""The residual block of GAN critics: ReLU, convolution, ReLU, convolution, average pooling."""

from __future__ import annotations

from torch import Tensor, nn

from genfuse.nn.conv_norm_act import ConvNormAct
from genfuse.ops import check


class ResNetCriticBlock(nn.Module):
    """``pool(second(first(x)) + shortcut(x))`` (Gulrajani et al. 2017, Miyato et al. 2018, appendix).

    first     ReLU → 3x3 convolution to in_channels; the block that sees the picture has no ReLU and goes to
              out_channels here
    second    ReLU → 3x3 convolution
    shortcut  1x1 convolution; x itself where neither size nor width changes
    pool      averages each 2x2 pixels, which is the same before and behind the 1x1 convolution

    Without a norm, as a gradient penalty or spectral norm wants it:
    `torch.nn.utils.parametrizations.spectral_norm(unit.conv)` for each unit.

    Args:
        in_channels: C of the input.
        out_channels: K of the output.
        downsample: whether H and W are halved.
        sees_picture: the first block of a critic.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, downsample: bool = True, sees_picture: bool = False
    ) -> None:
        super().__init__()
        check.flag("downsample", downsample)
        check.flag("sees_picture", sees_picture)
        hidden = out_channels if sees_picture else in_channels
        self.first = ConvNormAct(
            in_channels, hidden, norm="none", activation="none" if sees_picture else "relu"
        )
        self.second = ConvNormAct(
            hidden, out_channels, norm="none", activation="relu", pool=2 if downsample else 1
        )
        self.shortcut = (
            ConvNormAct(in_channels, out_channels, 1, norm="none", activation="none")
            if downsample or in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) → (N, K, H // 2, W // 2), or (N, K, H, W) without downsampling."""
        out: Tensor = self.second(self.first(x), residual=self.shortcut(x))
        return out

"""The residual block of GAN generators: norm, ReLU, upsampling, convolution, and the same again."""

from __future__ import annotations

from torch import Tensor, nn

from genfuse.nn.conv_norm_act import ConvNormAct
from genfuse.ops import check
from genfuse_kernels.conv_norm_act.settings import Norm


class ResNetGeneratorBlock(nn.Module):
    """``second(first(x)) + shortcut(x)`` (Gulrajani et al. 2017, Miyato et al. 2018, appendix).

    first     norm → ReLU → nearest 2x upsampling → 3x3 convolution
    second    norm → ReLU → 3x3 convolution
    shortcut  upsampling → 1x1 convolution; x itself where neither size nor width changes

    Args:
        in_channels: C of the input.
        out_channels: K of the output.
        upsample: whether H and W double.
        norm: of both units.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, upsample: bool = True, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        check.flag("upsample", upsample)
        factor = 2 if upsample else 1
        self.first = ConvNormAct(in_channels, out_channels, norm=norm, activation="relu", upsample=factor)
        self.second = ConvNormAct(out_channels, out_channels, norm=norm, activation="relu")
        self.shortcut = (
            ConvNormAct(in_channels, out_channels, 1, norm="none", activation="none", upsample=factor)
            if upsample or in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) → (N, K, 2H, 2W), or (N, K, H, W) without upsampling."""
        out: Tensor = self.second(self.first(x), residual=self.shortcut(x))
        return out

"""The critic of patches (Isola et al. 2017, arXiv:1611.07004, section 3.2): one score for each, not for the picture."""

from __future__ import annotations

from torch import nn

from genfuse.nn.conv_norm_act import ConvNormAct
from genfuse.ops import check
from genfuse_kernels.conv_norm_act.settings import Norm


class PatchCritic(nn.Sequential):
    """(N, in_channels, H, W) → scores (N, 1, h, w), of overlapping patches.

    4x4 convolutions with LeakyReLU of slope 0.2: ``halvings`` of stride 2, whose width doubles each time, up to eight
    times the first; one of stride 1, and one more for the scores. Patches have 7, 16, 34 or 70 pixels for 0 to 3
    halvings (appendix 6.1.2). Each but the first and the last has the norm behind it.

    Args:
        in_channels: of the picture.
        channels: width of the first convolution.
        halvings: convolutions of stride 2.
        norm: "batch", "instance", or "none" for a gradient penalty.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(
        self, in_channels: int = 3, channels: int = 64, halvings: int = 3, norm: Norm = "batch"
    ) -> None:
        check.count("in_channels", in_channels)
        check.count("channels", channels)
        check.count("halvings", halvings, 0)
        widths = [channels << min(place, 3) for place in range(halvings + 1)]
        strides = [2] * halvings + [1]
        units = [
            ConvNormAct(
                in_channels, widths[0], 4, stride=strides[0], padding=1, norm="none", activation="none"
            )
        ]
        for place, stride in enumerate([*strides[1:], 1]):
            out_channels = widths[place + 1] if place < halvings else 1
            units.append(
                ConvNormAct(
                    widths[place],
                    out_channels,
                    4,
                    stride=stride,
                    padding=1,
                    norm=norm if place else "none",
                    affine=norm == "batch",
                    activation="leaky_relu",
                    negative_slope=0.2,
                )
            )
        super().__init__(*units)
        self.apply(initialise)


def initialise(module: nn.Module) -> None:
    """Weights of deviation 0.02 (appendix 6.2), as CycleGAN's and StarGAN's code has them, too."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)

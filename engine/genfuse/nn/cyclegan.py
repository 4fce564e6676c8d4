"""CycleGAN's generator and its residual block (Zhu et al. 2017, arXiv:1703.10593; Johnson et al. 2016)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from genfuse.nn.conv_norm_act import ConvNormAct
from genfuse.nn.norm_act import NormAct
from genfuse.ops import check
from genfuse_kernels.conv_norm_act.settings import PaddingMode

_NORMAL: dict[str, Any] = {"norm": "instance", "affine": False, "activation": "relu"}
_PLAIN: dict[str, Any] = {"norm": "none", "activation": "none"}


class CycleGANBlock(nn.Module):
    """``x + norm(second(first(x)))``: 3x3 convolutions with reflected borders and instance norm behind each.

    Args:
        channels: C of input and output.
        padding_mode: "reflect", or "zeros" as in :class:`CycleGANGenerator`.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(self, channels: int, padding_mode: PaddingMode = "reflect") -> None:
        super().__init__()
        check.count("channels", channels)
        self.first = ConvNormAct(channels, channels, padding_mode=padding_mode, **_PLAIN)
        self.second = ConvNormAct(channels, channels, padding_mode=padding_mode, **_NORMAL)
        self.norm = NormAct(channels, norm="instance", affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) → (N, C, H, W)."""
        out: Tensor = self.norm(self.second(self.first(x)), residual=x)
        return out


class CycleGANGenerator(nn.Sequential):
    """(N, in_channels, H, W) → (N, out_channels, H, W) in [-1, 1]; H and W divisible by 4.

    7x7 convolution, two halvings, residual blocks, two doublings, 7x7 convolution and tanh. Parameters come in the
    order of the paper's code, where instance norm, without parameters, stands behind its convolution.

    Args:
        in_channels: of the picture.
        out_channels: of the other picture.
        channels: width at full resolution.
        num_blocks: residual blocks; the paper takes 6 for 128 pixels and 9 for 256.
        padding_mode: "reflect"; "zeros" where channels are constant over the picture, as a label's: behind reflected
            borders instance norm takes a constant away, whatever it was.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        channels: int = 64,
        num_blocks: int = 9,
        padding_mode: PaddingMode = "reflect",
    ) -> None:
        check.count("channels", channels)
        check.count("num_blocks", num_blocks, 0)
        blocks = (CycleGANBlock(4 * channels, padding_mode) for _ in range(num_blocks))
        super().__init__(
            *descent(in_channels, channels, padding_mode=padding_mode),
            *blocks,
            *ascent(channels, out_channels, padding_mode=padding_mode),
        )


def descent(
    in_channels: int, channels: int, halvings: int = 2, padding_mode: PaddingMode = "reflect"
) -> list[nn.Module]:
    """What stands before the blocks, normalised and activated.

    (N, in_channels, H, W) → (N, channels·2^halvings, H/2^halvings, W/2^halvings).
    """
    widths = [channels << place for place in range(halvings + 1)]
    return [
        ConvNormAct(in_channels, channels, 7, padding_mode=padding_mode, **_PLAIN),
        *(ConvNormAct(width, 2 * width, stride=2, **_NORMAL) for width in widths[:-1]),
        NormAct(widths[-1], **_NORMAL),
    ]


def ascent(
    channels: int, out_channels: int, halvings: int = 2, padding_mode: PaddingMode = "reflect"
) -> list[nn.Module]:
    """What stands behind the blocks, back to pictures in [-1, 1]; what it reads is normalised already.

    (N, channels·2^halvings, H, W) → (N, out_channels, H·2^halvings, W·2^halvings).
    """
    double: dict[str, Any] = {"stride": 2, "output_padding": 1, "transposed": True}
    units: list[nn.Module] = []
    for place in reversed(range(halvings)):
        width = channels << place
        units.append(ConvNormAct(2 * width, width, **double, **(_NORMAL if units else _PLAIN)))
    units.append(
        ConvNormAct(
            channels,
            out_channels,
            7,
            padding_mode=padding_mode,
            out_activation="tanh",
            **(_NORMAL if units else _PLAIN),
        )
    )
    return units

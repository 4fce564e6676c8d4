"""DCGAN's generator and critic (Radford et al. 2016, arXiv:1511.06434), any number of doublings."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from genfuse.nn.conv_norm_act import ConvNormAct
from genfuse.ops import check
from genfuse_kernels.conv_norm_act.settings import Activation, Norm


class DCGANGenerator(nn.Sequential):
    """(N, latent_channels, 1, 1) → (N, out_channels, S, S) in [-1, 1], S = 4·2^len(channels).

    A 4x4 transposed convolution, then doublings, each after batch norm and ReLU; tanh at the end. Parameters and
    buffers come in the order of the PyTorch example's, where batch norm stands behind its convolution.

    Args:
        latent_channels: width of the noise.
        channels: of each resolution, coarsest first.
        out_channels: of the picture.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(
        self,
        latent_channels: int = 100,
        channels: tuple[int, ...] = (512, 256, 128, 64),
        out_channels: int = 3,
    ) -> None:
        check.count("latent_channels", latent_channels)
        check.counts("channels", channels)
        widths = (*channels, out_channels)
        first = ConvNormAct(
            latent_channels,
            widths[0],
            4,
            padding=0,
            bias=False,
            transposed=True,
            norm="none",
            activation="none",
        )
        doublings = [
            ConvNormAct(
                below,
                above,
                4,
                stride=2,
                padding=1,
                bias=False,
                transposed=True,
                norm="batch",
                activation="relu",
                out_activation="tanh" if number == len(channels) else "none",
            )
            for number, (below, above) in enumerate(zip(channels, widths[1:], strict=True), 1)
        ]
        super().__init__(first, *doublings)
        self.apply(_initialise)


class DCGANCritic(nn.Sequential):
    """(N, in_channels, S, S) → (N,), or (N, out_features) where these are more than one; S = 4·2^len(channels).

    4x4 convolutions of stride 2 with LeakyReLU between them, batch norm behind all but the first; no normalisation of
    the scores unless ``out_activation`` is "sigmoid", the PyTorch example's.

    Args:
        in_channels: of the picture.
        channels: of each resolution, finest first.
        out_activation: of the scores.
        norm: in the place of batch norm, which couples a batch's samples: "none" for a gradient penalty.
        out_features: scores of a picture.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: tuple[int, ...] = (64, 128, 256, 512),
        out_activation: Activation = "none",
        norm: Norm = "batch",
        out_features: int = 1,
    ) -> None:
        check.counts("channels", channels)
        first = ConvNormAct(
            in_channels, channels[0], 4, stride=2, padding=1, bias=False, norm="none", activation="none"
        )
        halvings = [
            _halving(below, above, norm if number else "none")
            for number, (below, above) in enumerate(pairwise(channels))
        ]
        last = ConvNormAct(
            channels[-1],
            out_features,
            4,
            padding=0,
            bias=False,
            norm=norm if len(channels) > 1 else "none",
            activation="leaky_relu",
            negative_slope=0.2,
            out_activation=out_activation,
        )
        super().__init__(first, *halvings, last)
        self.apply(_initialise)

    def forward(self, input: Tensor) -> Tensor:
        """The scores."""
        for unit in self:
            input = unit(input)
        return input.flatten() if input.shape[1] == 1 else input.flatten(1)


def _halving(in_channels: int, out_channels: int, norm: Norm) -> ConvNormAct:
    return ConvNormAct(
        in_channels,
        out_channels,
        4,
        stride=2,
        padding=1,
        bias=False,
        norm=norm,
        activation="leaky_relu",
        negative_slope=0.2,
    )


def _initialise(module: nn.Module) -> None:
    """Section 4: weights of deviation 0.02."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)

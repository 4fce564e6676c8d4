"""The U-Net of denoising diffusion, small enough to train on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from genfuse.nn.conv2d import Conv2d
from genfuse.nn.conv_norm_act import ConvNormAct
from genfuse.nn.embedding import ConditionEmbedding
from genfuse.nn.res_block import ResBlock
from genfuse.ops import check
from genfuse.ops.bias_act import bias_act


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a :class:`UNet`; the default has 2.4 million weights and suits pictures of 32 pixels.

    Attributes:
        in_channels: channels of the picture, and of the output.
        num_classes: classes to condition on; 0 for none.
        patch_size: the picture enters as (patch_size·patch_size·in_channels) channels of a picture that much
            smaller: the cheapest way to spend few operations at full resolution.
        channels: width of each level, finest first; each level halves H and W.
        num_blocks: residual blocks a level, on the way down and on the way up.
        attention_levels: indices into ``channels`` that get self-attention after each block; the middle
            always has it.
        head_channels: channels of an attention head (one head where a level has fewer).
        embedding_channels: width of the condition's vector.
        num_groups: groups of every normalisation.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    in_channels: int = 3
    num_classes: int = 0
    patch_size: int = 2
    channels: tuple[int, ...] = (48, 96, 160)
    num_blocks: int = 1
    attention_levels: tuple[int, ...] = (1, 2)
    head_channels: int = 32
    embedding_channels: int = 128
    num_groups: int = 8

    def __post_init__(self) -> None:
        check.counts("channels", self.channels)
        check.count("num_classes", self.num_classes, 0)
        names = (
            "in_channels",
            "patch_size",
            "num_blocks",
            "head_channels",
            "embedding_channels",
            "num_groups",
        )
        for name in names:
            check.count(name, getattr(self, name))
        for place, level in enumerate(self.attention_levels):
            check.count(f"attention_levels[{place}]", level, 0)
        if any(width % self.num_groups for width in self.channels):
            raise ValueError(
                f"channels is {self.channels}, expected multiples of num_groups={self.num_groups}"
            )
        if any(level >= len(self.channels) for level in self.attention_levels):
            raise ValueError(
                f"attention_levels is {self.attention_levels}, expected indices into {self.channels}"
            )


def _block(channels: int, config: UNetConfig, attention: bool) -> ResBlock:
    heads = max(1, channels // config.head_channels) if attention else 0
    return ResBlock(
        channels, channels, config.embedding_channels, num_heads=heads, num_groups=config.num_groups
    )


class Level(nn.Module):
    """The residual blocks of one resolution on one way, after a 1x1 convolution that sets the width."""

    def __init__(self, in_channels: int, channels: int, config: UNetConfig, attention: bool) -> None:
        super().__init__()
        self.project = nn.Identity() if in_channels == channels else Conv2d(in_channels, channels, 1)
        self.blocks = nn.ModuleList(_block(channels, config, attention) for _ in range(config.num_blocks))


class DownLevel(Level):
    """A resolution on the way down: all that its blocks make is kept for the way up."""

    def forward(self, h: Tensor, embedding: Tensor) -> list[Tensor]:
        """What every block makes, in order."""
        h = self.project(h)
        outputs = []
        for block in self.blocks:
            h = block(h, embedding)
            outputs.append(h)
        return outputs


class UpLevel(Level):
    """A resolution on the way up: coarser features enlarged, and what the way down kept added block by block."""

    def forward(self, h: Tensor, embedding: Tensor, skips: list[Tensor]) -> Tensor:
        """``skips`` are the outputs of the :class:`DownLevel` of this resolution."""
        h = self.project(h)
        if h.shape[-1] != skips[-1].shape[-1]:
            h = F.interpolate(h, scale_factor=2.0, mode="nearest")
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            h = block(h + skip, embedding)
        return h


class UNet(nn.Module):
    """``model(x, t, label=None)``: a tensor like x.

    Reference: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", appendix B; the class condition is
    added to the time embedding as in Dhariwal & Nichol 2021. What the way up gets from the way down is added,
    not concatenated, and each level's width is set at the coarser of two resolutions: both make the same
    depth cost about a third less.

    Args:
        config: the network's shape; kept as ``model.config``.

    TypeError for any other.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        if not isinstance(config, UNetConfig):
            raise TypeError(f"config is {type(config).__name__}, expected a UNetConfig")
        self.config = config
        channels, first, last = config.channels, config.channels[0], config.channels[-1]
        patch_channels = config.in_channels * config.patch_size**2
        attention = [level in config.attention_levels for level in range(len(channels))]
        self.embed = ConditionEmbedding(config.num_classes, first, config.embedding_channels)
        self.conv_in = Conv2d(patch_channels, first, 3, padding=1)
        self.down = nn.ModuleList(
            DownLevel(below, above, config, wanted)
            for below, above, wanted in zip((first, *channels), channels, attention, strict=False)
        )
        self.middle = _block(last, config, attention=True)
        self.up = nn.ModuleList(
            UpLevel(below, above, config, wanted)
            for below, above, wanted in zip((*channels[1:], last), channels, attention, strict=True)
        )
        self.conv_out = ConvNormAct(first, patch_channels, num_groups=config.num_groups, zero_init=True)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """x (N, C, H, W); t (N,) floating, timesteps in [0, 1000); label (N,) int64 in [0, num_classes].

        Raises:
            ValueError: x has another number of channels, H or W is no multiple of :attr:`size_multiple`, or t
                is not of shape (N,).
        """
        self._check(x, t)
        embedding = bias_act(self.embed(t.to(x.dtype), label), activation="silu")
        h = self.conv_in(F.pixel_unshuffle(x, self.config.patch_size))
        skips: list[list[Tensor]] = []
        for number, level in enumerate(self.down):
            skips.append(level(F.avg_pool2d(h, 2) if number else h, embedding))
            h = skips[-1][-1]
        h = self.middle(h, embedding)
        for level, outputs in zip(reversed(self.up), reversed(skips), strict=True):
            h = level(h, embedding, outputs)
        return F.pixel_shuffle(self.conv_out(h), self.config.patch_size)

    @property
    def size_multiple(self) -> int:
        """H and W must be multiples of this."""
        return int(self.config.patch_size << (len(self.config.channels) - 1))

    def _check(self, x: Tensor, t: Tensor) -> None:
        check.sample("x", x)
        check.sample("t", t)
        shape, channels, multiple = tuple(x.shape), self.config.in_channels, self.size_multiple
        if x.ndim != 4 or x.shape[1] != channels or x.shape[2] % multiple or x.shape[3] % multiple:
            raise ValueError(
                f"x has shape {shape}, expected (N, {channels}, H, W), H and W divisible by {multiple}"
            )
        if t.shape != x.shape[:1]:
            raise ValueError(f"t has shape {tuple(t.shape)}, expected one timestep a sample, {(x.shape[0],)}")

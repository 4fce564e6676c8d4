"""The residual block of diffusion networks."""

from __future__ import annotations

from torch import Tensor, nn

from genfuse.nn.attention import SelfAttention
from genfuse.nn.conv2d import Conv2d
from genfuse.nn.conv_norm_act import ConvNormAct
from genfuse.nn.linear import Linear
from genfuse.ops import check


class ResBlock(nn.Module):
    """Two units around a shift by the condition, then self-attention (Ho et al. 2020, appendix B).

    ``attention(project(x) + second(first(x) + shift(embedding)))``; ``second`` starts at zero, and the block as its
    projection.

    Args:
        in_channels: C of the input; divisible by ``num_groups``.
        out_channels: K of the output, divisible likewise; where it is not C, x is projected by a 1x1 convolution.
        embedding_channels: width of the condition's vector; 0 for a block without one.
        num_heads: heads of the attention; 0 for a block without attention.
        num_groups: groups of every normalisation.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_channels: int = 0,
        *,
        num_heads: int = 0,
        num_groups: int = 8,
    ) -> None:
        super().__init__()
        check.count("embedding_channels", embedding_channels, 0)
        check.count("num_heads", num_heads, 0)
        self.first = ConvNormAct(in_channels, out_channels, num_groups=num_groups)
        self.shift = Linear(embedding_channels, out_channels) if embedding_channels else None
        self.second = ConvNormAct(out_channels, out_channels, num_groups=num_groups, zero_init=True)
        self.project = nn.Identity() if in_channels == out_channels else Conv2d(in_channels, out_channels, 1)
        self.attention = SelfAttention(out_channels, num_heads, num_groups) if num_heads else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """x (N, C, H, W) → (N, K, H, W); ``embedding`` (N, embedding_channels).

        ValueError where the embedding is missing, or given to a block without one.
        """
        if (embedding is None) != (self.shift is None):
            raise ValueError(
                f"embedding is {'missing' if embedding is None else 'given'}, expected "
                f"{'one for' if self.shift else 'none without'} embedding_channels"
            )
        h = self.first(x, shift=None if self.shift is None else self.shift(embedding))
        out: Tensor = self.attention(self.second(h, residual=self.project(x)))
        return out

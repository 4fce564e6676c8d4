"""Self-attention over the pixels of a feature map."""

from __future__ import annotations

from torch import Tensor, nn

from genfuse.nn.conv2d import Conv2d
from genfuse.nn.parts import of_parts
from genfuse.ops import check
from genfuse.ops.attention import attention
from genfuse.ops.conv_checks import check_axes, check_norm, check_settings
from genfuse.ops.conv_norm_act import Settings, unit
from genfuse_kernels.conv_norm_act.settings import UnitTensors


class SelfAttention(nn.Module):
    """``x + proj(attention(group_norm(x)))`` over the H·W positions of x (N, C, H, W).

    Args:
        channels: C; divisible by ``num_groups`` and by ``num_heads``.
        num_heads: heads, C / num_heads channels each.
        num_groups: groups of the normalisation.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(self, channels: int, num_heads: int = 1, num_groups: int = 8) -> None:
        super().__init__()
        check.count("channels", channels)
        check.count("num_heads", num_heads)
        if channels % num_heads:
            raise ValueError(f"channels is {channels}, expected a multiple of num_heads={num_heads}")
        self.num_heads = num_heads
        self.settings = Settings(norm="group", num_groups=num_groups)
        check_settings(self.settings)
        check_norm(self.settings, channels, {})
        self.norm = nn.GroupNorm(num_groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = Conv2d(channels, channels, 1)
        nn.init.zeros_(self.proj.weight)

    def forward(self, x: Tensor) -> Tensor:
        check_axes(x, weight=self.qkv.weight)
        n, c, h, w = x.shape
        norm: UnitTensors = {"norm_weight": self.norm.weight, "norm_bias": self.norm.bias}
        settings = of_parts(self.settings, self.norm, self.qkv)
        qkv = unit(x, self.qkv.weight, self.qkv.bias, settings, norm)[0].reshape(
            n, 3, self.num_heads, c // self.num_heads, h * w
        )
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        y = attention(q, k, v)
        out: Tensor = self.proj(y.transpose(-1, -2).reshape(n, c, h, w), residual=x)
        return out

"""The layer of the first style GAN: convolution, noise, LeakyReLU, and a norm that the style scales and shifts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from genfuse.nn.blur import BlurUpsample
from genfuse.nn.equalized import EqualizedConv2d, EqualizedLinear
from genfuse.ops import check
from genfuse.ops.bias_act import bias_act
from genfuse.ops.norm_act import norm_act
from genfuse.ops.philox_normal import philox_normal
from genfuse_kernels.philox_normal.spec import STREAM_STYLE


class AdaINLayer(nn.Module):
    """y_s·instance_norm(leaky_relu(conv(x) + strength·noise + bias)·√2) + y_b (Karras et al. 2019, eq. 1, figure 1b).

    in_channels, out_channels, style_dim, noise_stream   as `StyleLayer`, in whose place it stands
    up            1, or 2: x is made twice as large, through a low-pass filter, behind the convolution

    The style y is affine in w; y_s is 1 and y_b is 0 at the start. Noise is one number a pixel, of learned strength,
    0 at the start. ValueError or TypeError, naming the argument, for sizes that are not.
    """

    def __init__(
        self, in_channels: int, out_channels: int, style_dim: int, *, up: int = 1, noise_stream: int = 0
    ) -> None:
        check.word("noise_stream", noise_stream)
        super().__init__()
        self.conv = EqualizedConv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.upsample = BlurUpsample(factor=up) if up > 1 else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.affine = EqualizedLinear(style_dim, 2 * out_channels)
        self.noise_stream = noise_stream

    def forward(self, x: Tensor, w: Tensor, seeds: Tensor | None = None) -> Tensor:
        """x (N, C, H, W) and w (N, style_dim) → (N, K, H·up, W·up); ``seeds`` as `StyleLayer`'s."""
        h = self.upsample(self.conv(x))
        shape = (len(h), 1, *h.shape[2:])
        if seeds is None:
            noise = torch.randn(shape, dtype=h.dtype, device=h.device)
        else:
            noise = philox_normal(seeds, shape, row=self.noise_stream, stream=STREAM_STYLE, dtype=h.dtype)
        h = bias_act(
            h, self.bias, noise=noise * self.noise_strength, activation="leaky_relu", gain=math.sqrt(2)
        )
        scale, shift = self.affine(w).chunk(2, 1)
        out = norm_act(h, norm="instance", film_scale=scale, film_shift=shift)
        assert isinstance(out, Tensor)  # without return_stats
        return out

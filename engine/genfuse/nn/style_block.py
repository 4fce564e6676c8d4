"""Layers and blocks of a style GAN's synthesis network."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from genfuse.nn.modulated_conv2d import ModulatedConv2d
from genfuse.ops import check
from genfuse.ops.philox_normal import philox_normal
from genfuse_kernels.philox_normal.spec import STREAM_STYLE


class StyleLayer(nn.Module):
    """leaky_relu(modulated convolution + strength·noise + bias)·√2, noise one number a pixel (Karras et al. 2020, 2.2).

    in_channels, out_channels, style_dim, up, clamp   as `ModulatedConv2d`, of a 3x3 kernel
    noise         whether there is any; its strength is learned, 0 at the start
    noise_stream  in [0, 2**32): tells layers that get the same seeds apart
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style_dim: int,
        *,
        up: int = 1,
        clamp: float | None = None,
        noise: bool = True,
        noise_stream: int = 0,
    ) -> None:
        check.flag("noise", noise)
        check.word("noise_stream", noise_stream)
        super().__init__()
        ending: Any = {"bias": True, "activation": "leaky_relu", "gain": math.sqrt(2), "clamp": clamp}
        self.conv = ModulatedConv2d(in_channels, out_channels, 3, style_dim, up=up, **ending)
        self.noise_strength = nn.Parameter(torch.zeros(())) if noise else None
        self.noise_stream = noise_stream

    def forward(self, x: Tensor, w: Tensor, seeds: Tensor | None = None) -> Tensor:
        """x (N, C, H, W) and w (N, style_dim) → (N, K, H·up, W·up).

        seeds  (N,) int64: a sample's noise follows from its own alone; None: PyTorch's generator draws it
        """
        return self.conv(x, w, self._noise(x, seeds))  # type: ignore[no-any-return]

    def _noise(self, x: Tensor, seeds: Tensor | None) -> Tensor | None:
        if self.noise_strength is None:
            return None
        shape = (x.shape[0], 1, x.shape[2] * self.conv.up, x.shape[3] * self.conv.up)
        if seeds is None:
            normal = torch.randn(shape, dtype=x.dtype, device=x.device)
        else:
            normal = philox_normal(seeds, shape, row=self.noise_stream, stream=STREAM_STYLE, dtype=x.dtype)
        return normal * self.noise_strength.to(x.dtype)


class StyleBlock(nn.Module):
    """Two style layers, the first of which makes the picture `up` times as large.

    in_channels, out_channels, style_dim, up, clamp, noise   as `StyleLayer`
    noise_stream  of the first layer, the second has the next; so blocks take every second number
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style_dim: int,
        *,
        up: int = 2,
        clamp: float | None = None,
        noise: bool = True,
        noise_stream: int = 0,
    ) -> None:
        check.word("noise_stream", noise_stream)
        super().__init__()
        self.first = StyleLayer(
            in_channels, out_channels, style_dim, up=up, clamp=clamp, noise=noise, noise_stream=noise_stream
        )
        self.second = StyleLayer(
            out_channels, out_channels, style_dim, clamp=clamp, noise=noise, noise_stream=noise_stream + 1
        )

    def forward(self, x: Tensor, w: Tensor, seeds: Tensor | None = None) -> Tensor:
        """x (N, C, H, W), w (N, style_dim) or (N, 2, style_dim), one a layer → (N, K, H·up, W·up)."""
        first, second = two_styles(w)
        return self.second(self.first(x, first, seeds), second, seeds)  # type: ignore[no-any-return]


def two_styles(w: Tensor) -> tuple[Tensor, Tensor]:
    """Of two layers, from one for both or one each. ValueError for other shapes."""
    if w.ndim == 2:
        return w, w
    if w.ndim != 3 or w.shape[1] != 2:
        raise ValueError(f"w has shape {tuple(w.shape)}, expected (N, style_dim) or (N, 2, style_dim)")
    first, second = w.unbind(1)
    return first, second

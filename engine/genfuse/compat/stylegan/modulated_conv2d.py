"""The modulated convolutions of stylegan3's `training.networks_stylegan2` and `networks_stylegan3`."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse.ops.modulated_conv2d import modulated_conv2d as of_engine
from genfuse.ops.upfirdn2d import Factors


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Factors = 0,
    resample_filter: Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
    fused_modconv: bool = True,
) -> Tensor:
    """StyleGAN2's, `networks_stylegan2.modulated_conv2d`, by `genfuse.ops.modulated_conv2d`.

    noise          broadcasts to (N, 1, H', W'), (H', W') for example
    fused_modconv  makes no difference: weights of a sample's own are never made
    """
    if noise is not None:
        noise = noise.to(x.dtype).reshape(*(1,) * (4 - noise.ndim), *noise.shape)
    return of_engine(
        x,
        weight,
        styles,
        up=up,
        down=down,
        padding=padding,
        resample_filter=resample_filter,
        demodulate=demodulate,
        flip_weight=flip_weight,
        noise=noise,
    )


def modulated_conv2d_alias_free(
    x: Tensor,
    w: Tensor,
    s: Tensor,
    demodulate: bool = True,
    padding: Factors = 0,
    input_gain: Tensor | None = None,
) -> Tensor:
    """StyleGAN3's, `networks_stylegan3.modulated_conv2d`: weights and styles are normalised first (Karras et al. 2021).

    w           (K, C, height, width), each output channel over its root mean square where demodulated
    s           (N, C), over the batch's root mean square where demodulated
    input_gain  (), (C,) or (N, C)
    """
    if demodulate:
        w = w * w.square().mean((1, 2, 3), keepdim=True).rsqrt()
        s = s * s.square().mean().rsqrt()
    gain = None if input_gain is None else torch.as_tensor(input_gain)
    return of_engine(x, w, s, demodulate=demodulate, padding=padding, input_gain=gain)

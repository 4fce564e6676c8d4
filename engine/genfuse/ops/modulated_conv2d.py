"""`modulated_conv2d`: a convolution whose weights each sample's style scales, and what ends a style layer."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse.ops import check
from genfuse.ops.bias_act import bias_act
from genfuse.ops.conv2d_resample import conv2d_resample
from genfuse.ops.conv_checks import check_parameter
from genfuse.ops.upfirdn2d import Factors
from genfuse_kernels.bias_act.spec import Activation
from genfuse_kernels.modulated_conv2d.reference import demodulation


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: Factors = 0,
    resample_filter: Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
    input_gain: Tensor | None = None,
    noise: Tensor | None = None,
    bias: Tensor | None = None,
    activation: Activation = "none",
    negative_slope: float = 0.2,
    gain: float = 1.0,
    clamp: float | None = None,
) -> Tensor:
    """activation(conv(x, weight·styles)·demodulation + noise + bias)·gain within ±clamp (Karras et al. 2020, 2.2).

    x            (N, C, H, W) as `conv_norm_act` takes it
    weight       (K, C, height, width)
    styles       (N, C), the factor of each sample's input channels
    up, down, padding, resample_filter, flip_weight   as `conv2d_resample`
    demodulate   divide each sample's output channels by the norm of their modulated weights
    input_gain   (), (C,) or (N, C): a factor of the input channels that demodulation does not see
    noise, bias, activation, negative_slope, gain, clamp   as `bias_act`

    No weights of a sample's own are made: x is scaled while the convolution reads it, and the demodulation, which is
    one matrix product of squares, comes along with noise, bias and activation. Returns (N, K, H', W'). Differentiable
    twice. ValueError or TypeError, naming the argument.
    """
    check.sample("x", x)
    check.dense("weight", weight, "(K, C, height, width)")
    if x.ndim != 4 or weight.ndim != 4 or weight.shape[1] != x.shape[1] or min(weight.shape) < 1:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}, expected (N, C, H, W) and "
            "(K, C, height, width)"
        )
    check_parameter("styles", styles, (tuple(x.shape[:2]),), x)
    check_parameter("input_gain", input_gain, (tuple(x.shape[:2]), (x.shape[1],), ()), x)
    check.flag("demodulate", demodulate)
    factors, coefficients = _factors(x, weight, styles, demodulate)
    if input_gain is not None:
        factors = factors * input_gain
    y = conv2d_resample(x, weight, resample_filter, up, down, padding, flip_weight=flip_weight, scale=factors)
    if (
        all(each is None for each in (coefficients, noise, bias, clamp))
        and activation == "none"
        and gain == 1
    ):
        return y
    return bias_act(
        y,
        bias,
        scale=coefficients,
        noise=noise,
        activation=activation,
        negative_slope=negative_slope,
        gain=gain,
        clamp=clamp,
    )


def _factors(x: Tensor, weight: Tensor, styles: Tensor, demodulate: bool) -> tuple[Tensor, Tensor | None]:
    """Of the input's channels (N, C), and of the output's (N, K)."""
    if not demodulate:
        return styles, None
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    styles = styles.to(wide)
    coefficients = demodulation(weight.to(wide), styles)
    if x.dtype != torch.float16:
        return styles, coefficients
    # What the convolution stores has its size before demodulation, which float16 may not hold: a sample's styles
    # take the mean of its coefficients ahead. The two cancel, and so do their gradients.
    ahead = coefficients.detach().mean(1, keepdim=True)
    return styles * ahead, coefficients / ahead

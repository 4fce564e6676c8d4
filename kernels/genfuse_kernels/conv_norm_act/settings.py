"""What a unit does, apart from its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypedDict, get_args

from torch import Tensor

Norm = Literal["none", "batch", "instance", "group", "layer", "layer_pixel", "rms_pixel"]
NORMS: tuple[Norm, ...] = get_args(Norm)

Activation = Literal["none", "relu", "leaky_relu", "silu", "gelu", "gelu_tanh", "tanh", "sigmoid", "softplus"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)

PaddingMode = Literal["zeros", "reflect", "circular"]
PADDING_MODES: tuple[PaddingMode, ...] = get_args(PaddingMode)

Accuracy = Literal["exact", "fast"]
ACCURACIES: tuple[Accuracy, ...] = get_args(Accuracy)

Pair = tuple[int, int]


def kernel_size(weight_shape: Sequence[int]) -> Pair:
    """Height and width of a kernel (K, C, height, width), or (K, C, length) of a sequence's: height 1."""
    return (1, weight_shape[2]) if len(weight_shape) == 3 else (weight_shape[2], weight_shape[3])


class Settings(NamedTuple):
    """A unit's numbers and names; pairs are (height, width).

    padding   at the top and the left
    extra_padding   (bottom, right) beyond padding's; at least −padding
    norm      "batch" (running statistics where given, else the batch's), "instance", "group", "layer" (over C, H
              and W), "layer_pixel" and "rms_pixel" (over C at each pixel; without weight the latter is pixel norm)
    upsample  1, or 2: pixels are read twice along the axis
    dropout   share of the activated elements that become 0; `dropout_stream` tells the masks of layers apart
    scale     of the sum of convolution, bias, shift and residual, before the output's activation
    pool      1, or 2: the mean of each two pixels along the axis is one of the output, behind its activation; a last
              odd row or column is dropped
    accuracy  "fast" admits Winograd, "exact" does not; None admits that of float32, whose error half precision hides
    """

    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    extra_padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    transposed: bool = False
    output_padding: Pair = (0, 0)
    padding_mode: PaddingMode = "zeros"
    upsample: Pair = (1, 1)
    norm: Norm = "none"
    num_groups: int = 1
    eps: float = 1e-5
    activation: Activation = "none"
    negative_slope: float = 0.01
    dropout: float = 0.0
    dropout_stream: int = 0
    scale: float = 1.0
    out_activation: Activation = "none"
    pool: Pair = (1, 1)
    accuracy: Accuracy | None = None


class NormTensors(TypedDict, total=False):
    """What a norm, its activation, dropout and the addition behind them read beside x; absent is as good as None."""

    norm_weight: Tensor | None
    norm_bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    stats: Tensor | None
    film_scale: Tensor | None
    film_shift: Tensor | None
    residual: Tensor | None
    seeds: Tensor | None


class UnitTensors(NormTensors, total=False):
    """What a unit with a convolution reads beside x, weight and bias."""

    skip: Tensor | None
    shift: Tensor | None
    residual_weight: Tensor | None
    residual_skip: Tensor | None


def output_size(settings: Settings, kernel: Pair, size: Pair) -> Pair:
    """Height and width of the output for an input of this height and width; may be less than 1."""
    height, width = convolved_size(settings, kernel, size)
    return height // settings.pool[0], width // settings.pool[1]


def convolved_size(settings: Settings, kernel: Pair, size: Pair) -> Pair:
    """`output_size` before pooling."""
    sizes = []
    for axis in (0, 1):
        reach = settings.dilation[axis] * (kernel[axis] - 1) + 1
        if settings.transposed:
            out = (
                (size[axis] - 1) * settings.stride[axis]
                - 2 * settings.padding[axis]
                + reach
                + settings.output_padding[axis]
            )
        else:
            padding = 2 * settings.padding[axis] + settings.extra_padding[axis]
            room = size[axis] * settings.upsample[axis] + padding - reach
            out = room // settings.stride[axis] + 1
        sizes.append(out)
    return sizes[0], sizes[1]

"""The layer that image networks are made of: norm, activation, convolution and what follows, as one unit."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from genfuse.nn.norm import batch_stats, finish, make_norm, norm_tensors
from genfuse.nn.parts import of_parts
from genfuse.ops import check
from genfuse.ops.conv_checks import check_norm, check_settings
from genfuse.ops.conv_norm_act import Settings, unit
from genfuse_kernels.conv_norm_act.settings import Activation, Norm, PaddingMode, UnitTensors


class ConvNormAct(nn.Module):
    """``out_activation(conv(activation(norm(x))) + bias + shift + residual)``, pooled where wanted.

    One call of `genfuse.ops.conv_norm_act`: normalised and activated while the convolution reads, the rest while it
    writes. The state dict is that of `torch.nn`'s modules ``norm`` and ``conv``; in training batch
    norm goes by the batch's statistics and updates its running ones.

    Args:
        in_channels: C of the input, and of skip where one is given; divisible by ``num_groups`` for a group norm.
        out_channels: K of the output.
        kernel_size: of both axes.
        stride, padding, output_padding, groups, bias, padding_mode: as `torch.nn.Conv2d` and `ConvTranspose2d` have
            them; without padding an odd kernel gets what keeps H and W.
        transposed: a transposed convolution.
        norm: of the input: "none", "batch", "instance", "group" (of ``num_groups``), "layer" (over C, H, W),
            "layer_pixel" or "rms_pixel" (over C, of each pixel: `torch.nn.LayerNorm`'s and `RMSNorm`'s state).
            ``affine``: whether it has weight and bias (an RMS norm weight alone). ``eps`` is added to its variance.
        activation: of the normalised input; ``negative_slope`` of "leaky_relu", here and in ``out_activation``.
        dropout: share in [0, 1) of the activated input that becomes 0, in evaluation too: forward gets ``seeds`` then.
            ``dropout_stream`` gives layers that get the same seeds masks of their own.
        upsample: 2 repeats each activated pixel twice along both axes.
        out_activation: of the output.
        pool: 2 averages each 2x2 pixels of the output.
        zero_init: start with a zero convolution, so that a residual unit begins as the identity.

    ValueError or TypeError for names and numbers that no unit has; UnsupportedError where ``norm`` or ``conv`` has
    forward hooks.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        transposed: bool = False,
        norm: Norm = "group",
        num_groups: int = 8,
        eps: float = 1e-5,
        affine: bool = True,
        activation: Activation = "silu",
        negative_slope: float = 0.01,
        dropout: float = 0.0,
        dropout_stream: int = 0,
        upsample: int = 1,
        out_activation: Activation = "none",
        pool: int = 1,
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "out_channels": out_channels, "kernel_size": kernel_size}
        for name, size in {**sizes, "stride": stride, "upsample": upsample, "pool": pool}.items():
            check.count(name, size)
        if padding is None:
            if kernel_size % 2 == 0:
                raise ValueError(
                    f"padding is None, expected a number with the even kernel_size={kernel_size}"
                )
            padding = kernel_size // 2
        check.count("padding", padding, 0)
        for name, flag in {"bias": bias, "affine": affine, "zero_init": zero_init}.items():
            check.flag(name, flag)
        check.count("output_padding", output_padding, 0)
        self.settings = Settings(
            stride=(stride, stride),
            padding=(padding, padding),
            output_padding=(output_padding, output_padding),
            groups=groups,
            transposed=transposed,
            padding_mode=padding_mode,
            upsample=(upsample, upsample),
            norm=norm,
            num_groups=num_groups,
            activation=activation,
            eps=eps,
            negative_slope=negative_slope,
            dropout=dropout,
            dropout_stream=dropout_stream,
            out_activation=out_activation,
            pool=(pool, pool),
        )
        check_settings(self.settings)
        check_norm(self.settings, in_channels, {})
        self.norm = make_norm(norm, in_channels, num_groups, eps, affine)
        shape = (in_channels, out_channels, kernel_size, stride, padding)
        self.conv: nn.Conv2d | nn.ConvTranspose2d = (
            nn.ConvTranspose2d(*shape, output_padding=output_padding, groups=groups, bias=bias)
            if transposed
            else nn.Conv2d(*shape, groups=groups, bias=bias, padding_mode=padding_mode)
        )
        if zero_init:
            for parameter in self.conv.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        x: Tensor,
        shift: Tensor | None = None,
        residual: Tensor | None = None,
        skip: Tensor | None = None,
        seeds: Tensor | None = None,
    ) -> Tensor:
        """x (N, C, H, W) → (N, K, H', W').

        ``shift`` (N, K) is added per channel, ``residual`` like the output before it is pooled; ``skip`` (N, C', H, W)
        are channels behind x's; ``seeds`` (N,) int64 are of each sample's dropout.
        """
        own = of_parts(self.settings, self.conv, self.norm)
        batch = batch_stats(self.norm, x, skip)
        added = {"skip": skip, "shift": shift, "residual": residual, "seeds": seeds}
        tensors = cast(
            UnitTensors, {**norm_tensors(self.norm), "stats": batch and batch.of_samples(x.shape[0]), **added}
        )
        measured = batch is not None and batch.measured
        y, _ = unit(x, self.conv.weight, self.conv.bias, own, tensors, measured=measured)
        finish(self.norm, x, skip, batch)
        return y

"""Norm, activation and residual where no convolution follows."""

from __future__ import annotations

from torch import Tensor, nn

from genfuse.nn.norm import batch_stats, finish, make_norm, norm_tensors
from genfuse.nn.parts import of_parts
from genfuse.ops import check
from genfuse.ops.conv_checks import check_norm, check_settings
from genfuse.ops.conv_norm_act import Settings
from genfuse.ops.norm_act import unit
from genfuse_kernels.conv_norm_act.settings import Activation, Norm


class NormAct(nn.Module):
    """``activation(norm(x)) + residual``, one call of `genfuse.ops.norm_act`.

    Args:
        channels: C of the input.
        norm: "none", "batch", "instance", "group", "layer", "layer_pixel" or "rms_pixel", as `ConvNormAct` has them;
            its state is that of `torch.nn`'s module.
        num_groups: groups of a group norm; a divisor of ``channels``.
        eps: added to the variance.
        affine: whether the norm has weight and bias (an RMS norm weight alone).
        activation: behind the norm.
        negative_slope: of "leaky_relu".

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(
        self,
        channels: int,
        *,
        norm: Norm = "group",
        num_groups: int = 8,
        eps: float = 1e-5,
        affine: bool = True,
        activation: Activation = "none",
        negative_slope: float = 0.01,
    ) -> None:
        super().__init__()
        check.count("channels", channels)
        check.flag("affine", affine)
        self.settings = Settings(
            norm=norm, num_groups=num_groups, eps=eps, activation=activation, negative_slope=negative_slope
        )
        check_settings(self.settings)
        check_norm(self.settings, channels, {})
        self.norm = make_norm(norm, channels, num_groups, eps, affine)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x and ``residual`` (N, C, H, W) → (N, C, H, W)."""
        own = of_parts(self.settings, self.norm)
        batch = batch_stats(self.norm, x) if isinstance(self.norm, nn.SyncBatchNorm) else None
        stats = batch.of_samples(x.shape[0]) if batch is not None and not batch.measured else None
        y, _ = unit(x, own, {**norm_tensors(self.norm), "stats": stats, "residual": residual})
        finish(self.norm, x, None, batch)
        return y

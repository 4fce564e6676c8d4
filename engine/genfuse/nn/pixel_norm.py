"""Pixel norm, which progressive and style GANs normalise features with."""

from __future__ import annotations

from torch import Tensor, nn

from genfuse.ops import check
from genfuse.ops.norm_act import norm_act


class PixelNorm(nn.Module):
    """x over its root mean square over the channels of each pixel (Karras et al. 2018, section 4.2), on `norm_act`.

    eps   behind the mean of squares

    x (N, C), (N, C, L) or (N, C, H, W), floating, gives a tensor like x. ValueError or TypeError for others.
    """

    def __init__(self, eps: float = 1e-8) -> None:
        check.finite("eps", eps)
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """A tensor like x."""
        check.sample("x", x)
        if x.ndim == 2:
            return self.forward(x[:, :, None])[:, :, 0]
        out = norm_act(x, norm="rms_pixel", eps=self.eps)
        assert isinstance(out, Tensor)  # without return_stats
        return out

    def extra_repr(self) -> str:
        """As `torch.nn` shows it."""
        return f"eps={self.eps}"

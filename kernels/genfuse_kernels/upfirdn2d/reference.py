"""`upfirdn2d` in plain PyTorch: the definition of the op."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def upfirdn2d(
    x: Tensor,
    f: Tensor,
    up: Sequence[int],
    down: Sequence[int],
    padding: Sequence[int],
    flip_filter: bool,
    gain: float,
) -> Tensor:
    """(N, C, H', W') in x's dtype; see `spec`. Differentiable in x and f."""
    batch, channels, height, width = x.shape
    spread = F.pad(x[:, :, :, None, :, None], (0, up[0] - 1, 0, 0, 0, up[1] - 1))
    padded = _padded(spread.reshape(batch, channels, height * up[1], width * up[0]), padding)
    of_filter = f.to(torch.promote_types(f.dtype, x.dtype))  # the outer product is no less exact than x
    factors = (of_filter if f.ndim == 2 else of_filter[:, None] * of_filter).to(x.dtype) * gain
    if not flip_filter:
        factors = factors.flip((0, 1))
    planes = padded.reshape(batch * channels, 1, *padded.shape[2:])
    out = F.conv2d(planes, factors[None, None], stride=(down[1], down[0]))
    return out.reshape(batch, channels, *out.shape[2:])


def _padded(x: Tensor, padding: Sequence[int]) -> Tensor:
    """Zeros first, then what is cut off: PyTorch's own order refuses to cut more from a picture than it has."""
    wide = F.pad(x, [max(side, 0) for side in padding])
    return F.pad(wide, [min(side, 0) for side in padding])

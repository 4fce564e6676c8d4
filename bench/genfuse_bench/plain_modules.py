"""genfuse's modules as plain PyTorch runs them: the same parameters, `torch.nn`'s own modules and functions.

Written as a user of PyTorch writes them, activations in place behind a norm. What has no entry here runs on
`backend("aten")`, which composes PyTorch's kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from genfuse.nn import Conv2d, ConvNormAct, Linear, NormAct, PixelNorm, SelfAttention
from genfuse.nn.spectral_norm import SpectralNorm
from genfuse_kernels.conv_norm_act.reference import activated
from genfuse_kernels.conv_norm_act.settings import Settings


def conv_norm_act(
    unit: Any,
    x: Tensor,
    shift: Tensor | None = None,
    residual: Tensor | None = None,
    skip: Tensor | None = None,
) -> Tensor:
    """Norm, activation, upsampling, convolution and what follows, each a call of its own."""
    s: Settings = unit.settings
    h = _read(unit.norm, s, x if skip is None else torch.cat((x, skip), 1))
    if s.upsample != (1, 1):
        h = F.interpolate(h, scale_factor=tuple(float(each) for each in s.upsample), mode="nearest")
    y: Tensor = unit.conv(h)
    if shift is not None:
        y = y + shift[:, :, None, None]
    if residual is not None:
        y = y + residual
    y = activated(y, s.out_activation, s.negative_slope)
    return y if s.pool == (1, 1) else F.avg_pool2d(y, s.pool)


def norm_act(unit: Any, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """Norm, activation, addition."""
    y = _read(unit.norm, unit.settings, x)
    return y if residual is None else y + residual


def _read(norm: nn.Module, s: Settings, x: Tensor) -> Tensor:
    if isinstance(norm, nn.Identity):
        return activated(x, s.activation, s.negative_slope)
    if s.norm in ("layer_pixel", "rms_pixel"):
        h: Tensor = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    else:
        h = norm(x)
    if s.activation == "relu":
        return F.relu(h, inplace=True)
    if s.activation == "leaky_relu":
        return F.leaky_relu(h, s.negative_slope, inplace=True)
    return activated(h, s.activation, s.negative_slope)


def conv2d(layer: Any, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """`torch.nn.Conv2d`'s own forward, and an addition."""
    y = nn.Conv2d.forward(layer, x)
    return y if residual is None else y + residual


def self_attention(block: Any, x: Tensor) -> Tensor:
    """`scaled_dot_product_attention` over the pixels."""
    n, c, h, w = x.shape
    parts = block.qkv(block.norm(x)).reshape(n, 3, block.num_heads, c // block.num_heads, h * w)
    q, k, v = parts.transpose(-1, -2).unbind(1)
    y = F.scaled_dot_product_attention(q, k, v)
    out: Tensor = block.proj(y.transpose(-1, -2).reshape(n, c, h, w), x)
    return out


def pixel_norm(layer: Any, x: Tensor) -> Tensor:
    """Over the root mean square of the channels."""
    eps: float = layer.eps
    return x * (x.square().mean(1, keepdim=True) + eps).rsqrt()


def spectral_norm(norm: Any, weight: Tensor) -> Tensor:
    """`torch.nn.utils.parametrizations.spectral_norm`'s own: a matrix and vector product each way a step."""
    if weight.ndim == 1:
        return F.normalize(weight, dim=0, eps=norm.eps)
    rows = weight.movedim(norm.dim, 0).flatten(1)
    u, v = norm._u, norm._v
    with torch.no_grad():
        for _ in range(norm.steps):
            u = F.normalize(torch.mv(rows, v), dim=0, eps=norm.eps)
            v = F.normalize(torch.mv(rows.mT, u), dim=0, eps=norm.eps)
    # New tensors, where PyTorch's own has an edit in place: compiled, the graph of an earlier use holds them.
    norm._u, norm._v = u, v
    return weight / torch.vdot(u, torch.mv(rows, v))


FORWARDS: dict[type[nn.Module], Callable[..., Tensor]] = {
    ConvNormAct: conv_norm_act,
    NormAct: norm_act,
    SelfAttention: self_attention,
    Conv2d: conv2d,
    Linear: nn.Linear.forward,
    PixelNorm: pixel_norm,
    SpectralNorm: spectral_norm,
}


def make_plain(network: nn.Module) -> None:
    """In place: every module of `FORWARDS` runs as it has it; the state stays.

    Of classes derived from these only parametrised layers' do, which are the same but for their weights.
    """
    for module in network.modules():
        kind = type(module)
        if parametrize.is_parametrized(module):
            kind = kind.__bases__[0]
        if kind in FORWARDS:
            module.forward = MethodType(FORWARDS[kind], module)
        if "_spectral_norms" in module.__dict__:  # one call for all weights: PyTorch has none
            module._forward_pre_hooks.clear()
            module._forward_hooks.clear()
            del module.__dict__["_spectral_norms"]

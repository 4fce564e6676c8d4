"""`bias_act` in plain PyTorch: the definition of the op."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels.bias_act.spec import Settings


def bias_act(
    x: Tensor, bias: Tensor | None, scale: Tensor | None, noise: Tensor | None, settings: Settings
) -> Tensor:
    """Like x; see `spec`. Differentiable to any order."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    value = x.to(wide)
    if scale is not None:
        value = value * scale.to(wide).reshape(*scale.shape, *(1,) * (x.ndim - 2))
    if noise is not None:
        value = value + noise.to(wide)
    if bias is not None:
        value = value + bias.to(wide).reshape(-1, *(1,) * (x.ndim - 1 - settings.dim))
    value = activated(value, settings)
    if settings.gain != 1:
        value = value * settings.gain
    if settings.clamp is not None:
        value = torch.where(
            value.abs() < settings.clamp, value, value.detach().clamp(-settings.clamp, settings.clamp)
        )
    return value.to(x.dtype)


def activated(value: Tensor, settings: Settings) -> Tensor:
    """The activation by name."""
    plain: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": F.relu,
        "silu": F.silu,
        "gelu": F.gelu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softplus": F.softplus,
        "elu": F.elu,
        "selu": F.selu,
    }
    if settings.activation == "leaky_relu":
        return F.leaky_relu(value, settings.negative_slope)
    if settings.activation == "gelu_tanh":
        return F.gelu(value, approximate="tanh")
    return plain[settings.activation](value) if settings.activation in plain else value

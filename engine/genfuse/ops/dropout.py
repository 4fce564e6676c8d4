"""Dropout where gradients are needed: the mask is drawn again backwards, by the kernel that draws it forwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from genfuse_kernels.conv_norm_act.settings import Settings


def dropped(h: Tensor, s: Settings, seeds: Tensor) -> Tensor:
    """As `reference.dropped`: of PyTorch's integer ops the mask would cost more than a convolution."""
    if has_torch_function_unary(h):
        seen: Tensor = handle_torch_function(dropped, (h,), h, s, seeds)
        return seen
    y: Tensor = _Dropout.apply(h, seeds, s.dropout, s.dropout_stream)
    return y


def _masked(h: Tensor, seeds: Tensor, dropout: float, stream: int) -> Tensor:
    """The op `norm_act` with nothing but the mask."""
    no_norm = (None,) * 8
    y: Tensor = torch.ops.genfuse.norm_act(
        h, *no_norm, seeds, "none", 1, 0.0, "none", 0.0, dropout, stream, 1.0, "none", (1, 1), False
    )[0]
    return y


class _Dropout(torch.autograd.Function):
    """h times its mask, which is a function of the seeds: linear, and nothing else is kept."""

    @staticmethod
    def forward(h: Tensor, seeds: Tensor, dropout: float, stream: int) -> Tensor:
        return _masked(h, seeds, dropout, stream)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, seeds, ctx.dropout, ctx.stream = inputs
        ctx.save_for_backward(seeds)
        ctx.save_for_forward(seeds)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (seeds,) = ctx.saved_tensors
        return _masked(grad, seeds, ctx.dropout, ctx.stream), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        (seeds,) = ctx.saved_tensors
        return _masked(tangent, seeds, ctx.dropout, ctx.stream)

"""Small calls of `conv_norm_act` and `norm_act`, one a kind of convolution and surroundings, for tests of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genfuse.ops import conv_norm_act, norm_act
from genfuse_kernels.conv_norm_act.settings import Activation, Norm

BATCH, OUTPUTS, HEIGHT, WIDTH = 2, 3, 4, 3


@dataclass(frozen=True)
class Kind:
    """Shapes by argument, where they are not the plain 3x3 convolution's, and options; C is the number of channels."""

    shapes: dict[str, tuple[int | str, ...]]
    options: dict[str, Any]


def _kind(options: dict[str, Any] | None = None, **shapes: tuple[int | str, ...]) -> Kind:
    return Kind(shapes, options or {})


_IMAGE = (BATCH, "C", HEIGHT, WIDTH)
_OUTPUT = (BATCH, OUTPUTS, HEIGHT, WIDTH)

NORM_KINDS: dict[str, Kind] = {
    "plain": _kind(),
    "per-sample norm": _kind(norm_weight=(BATCH, "C"), norm_bias=(BATCH, "C")),
    "film": _kind(film_scale=(BATCH, "C"), film_shift=(BATCH, "C")),
    "dropout": _kind({"dropout": 0.3, "dropout_stream": 5}),
    "residual": _kind({"scale": 0.7}, residual=_IMAGE),
    "output's activation": _kind({"out_activation": "tanh", "scale": 1.5}),
    "pooled": _kind({"out_activation": "silu", "pool": 2}),
    "statistics": _kind({"return_stats": True}),
    "sequence": _kind({"pool": 2}, x=(BATCH, "C", 7)),
}
"""Of `norm_act`, and of `conv_norm_act` too."""

KINDS: dict[str, Kind] = {
    **NORM_KINDS,
    "residual": _kind({"scale": 0.7}, residual=_OUTPUT),
    "sequence": _kind({"pool": 2}, x=(BATCH, "C", 7), weight=(OUTPUTS, "C", 3)),
    "1x1": _kind({"padding": 0}, weight=(OUTPUTS, "C", 1, 1)),
    "strided": _kind({"stride": 2}, weight=(OUTPUTS, "C", 4, 4)),
    "dilated": _kind({"dilation": 2, "padding": 2}),
    "grouped": _kind({"groups": 2}, weight=("C", "C/2", 3, 3), bias=("C",)),
    "depthwise": _kind({"groups": "C"}, weight=("C", 1, 3, 3), bias=("C",)),
    "transposed": _kind({"transposed": True, "stride": 2, "output_padding": 1}, weight=("C", OUTPUTS, 4, 4)),
    "upsampled": _kind({"upsample": 2}),
    "reflect": _kind({"padding_mode": "reflect"}),
    "circular": _kind({"padding_mode": "circular", "padding": (1, 0, 2, 1)}),
    "skip": _kind(x=(BATCH, "C/2", HEIGHT, WIDTH), skip=(BATCH, "C/2", HEIGHT, WIDTH)),
    "shift": _kind(shift=(BATCH, OUTPUTS)),
    "projected residual": _kind(
        residual=(BATCH, 2, HEIGHT, WIDTH), residual_skip=(BATCH, 3, HEIGHT, WIDTH), residual_weight=(OUTPUTS, 5, 1, 1)
    ),
}  # fmt: skip
"""Of `conv_norm_act`."""


@dataclass(frozen=True)
class UnitCall:
    """A call of an op; `leaves` are all its floating-point tensors, by argument, in float64."""

    op: Any
    leaves: dict[str, Tensor]
    options: dict[str, Any]

    def __call__(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        """The op's results, of these tensors in the place of `leaves`."""
        made = self.op(**dict(zip(self.leaves, leaves, strict=True)), **self.options)
        return made if isinstance(made, tuple) else (made,)

    def inputs(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        """Copies of the leaves, with gradients."""
        return tuple(t.to(dtype, copy=True).requires_grad_() for t in self.leaves.values())


def unit_call(kind: str, norm: Norm, activation: Activation, seed: int, channels: int = 4) -> UnitCall:
    """Of `conv_norm_act`."""
    call = norm_call(KINDS[kind], norm, activation, seed, channels)
    shapes = {"weight": (OUTPUTS, "C", 3, 3), "bias": (OUTPUTS,), **KINDS[kind].shapes}
    parameters = {
        name: _tensor(shapes[name], channels, seed + i) / 2 for i, name in enumerate(("weight", "bias"), 70)
    }
    sized = {"padding": 1, **call.options}
    return UnitCall(conv_norm_act, {**call.leaves, **parameters}, sized)


def norm_call(kind: Kind, norm: Norm, activation: Activation, seed: int, channels: int = 4) -> UnitCall:
    """Of `norm_act`."""
    shapes: dict[str, Any] = {"x": _IMAGE, "norm_weight": ("C",), "norm_bias": ("C",), **kind.shapes}
    leaves = {
        name: _tensor(shape, channels, seed + i)
        for i, (name, shape) in enumerate(shapes.items())
        if name not in ("weight", "bias")
    }
    options = {
        "norm": norm,
        "num_groups": 2,
        "eps": 1e-3,
        "activation": activation,
        "negative_slope": 0.2,
        **{name: channels if value == "C" else value for name, value in kind.options.items()},
    }
    if "dropout" in options:
        options["seeds"] = torch.arange(BATCH) + seed
    return UnitCall(norm_act, leaves, options)


def _tensor(shape: tuple[int | str, ...], channels: int, seed: int) -> Tensor:
    sizes = {"C": channels, "C/2": channels // 2}
    given = [sizes[size] if isinstance(size, str) else size for size in shape]
    return torch.randn(given, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

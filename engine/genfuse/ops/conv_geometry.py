"""The sizes that a unit's settings give its output; sequences (N, C, L) as pictures of height 1."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from genfuse.ops import check
from genfuse_kernels.conv_norm_act.settings import Pair, Settings, convolved_size, output_size

__all__ = ["convolved_size", "output_size", "paddings", "pair", "pictures", "settings_of"]

_IMAGES = ("skip", "residual", "residual_skip")
_Tensors = TypeVar("_Tensors", bound=Any)


def pair(name: str, value: Any, axes: int, neutral: int = 1) -> Pair:
    """(height, width) from what the user gave for a picture, axes=2, or a sequence, axes=1: height `neutral` then."""
    if type(value) is int:
        return (neutral, value) if axes == 1 else (value, value)
    if isinstance(value, (tuple, list)) and len(value) == axes and all(type(v) is int for v in value):
        return (neutral, value[0]) if axes == 1 else (value[0], value[1])
    raise TypeError(
        f"{name} is {value!r}, expected an int or {'(length,)' if axes == 1 else '(height, width)'}"
    )


def paddings(value: Any, axes: int) -> tuple[Pair, Pair]:
    """`Settings.padding` and `Settings.extra_padding`, from one value an axis or from two."""
    if not isinstance(value, (tuple, list)) or len(value) != 2 * axes:
        return pair("padding", value, axes, 0), (0, 0)
    if not all(type(side) is int for side in value):
        expected = "four ints: left, right, top, bottom" if axes == 2 else "two ints: left, right"
        raise TypeError(f"padding is {value!r}, expected {expected}")
    left, right, top, bottom = (*value, 0, 0)[:4]
    return (top, left), (bottom - top, right - left)


_EXTENTS = {"stride": 1, "dilation": 1, "output_padding": 0, "upsample": 1, "pool": 1}
"""Options that are one number or one an axis, and what they are along the height of a sequence."""


def settings_of(axes: int, *, padding: Any, **options: Any) -> Settings:
    """From `conv_norm_act`'s options, as the user gave them. TypeError, naming it, for one of another form."""
    before, extra = paddings(padding, axes)
    pairs = {name: pair(name, options[name], axes, of) for name, of in _EXTENTS.items() if name in options}
    return Settings(**{**options, **pairs}, padding=before, extra_padding=extra)


def pictures(tensors: _Tensors) -> _Tensors:
    """A sequence's tensors, those with an axis of length as views of height 1. ValueError or TypeError for others."""
    views: Any = dict(tensors)
    for name in _IMAGES:
        tensor = views.get(name)
        if tensor is not None:
            check.dense(name, tensor, "(N, C, L)")
            if tensor.ndim != 3:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected (N, C, L) as x")
            views[name] = tensor.unsqueeze(2)
    return cast(_Tensors, views)

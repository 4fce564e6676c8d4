"""DiffAugment: pictures changed at random, differentiably, before a critic sees them, real and fake alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from genfuse.names import check_name
from genfuse.ops import check
from genfuse_kernels.philox_normal.reference import philox_words
from genfuse_kernels.philox_normal.spec import STREAM_AUGMENTATION

Change = Literal["color", "translation", "cutout"]
CHANGES: tuple[Change, ...] = get_args(Change)

_SHIFT = 1 / 8
"""Largest translation, in sides of the picture."""
_HOLE = 1 / 2
"""Side of the cutout, in sides of the picture."""


def diff_augment(images: Tensor, seeds: Tensor, *, policy: Sequence[Change] = CHANGES) -> Tensor:
    """The images after a random change of colour, a translation and a cutout (Zhao et al. 2020, arXiv:2006.10738).

    images  (N, C, H, W), any sizes, float32, float64, bfloat16 or float16, in [-1, 1] or whatever is centred on 0
    seeds   (N,) int64 on the images' device, one a sample: what is done to sample n depends on seeds[n] and the size
            alone, not on N, the other samples, dtype or memory format, nor on the rest of the policy. So fakes get the
            changes of reals where they get their seeds
    policy  which of these; they are done in this order. u is uniform in (0, 1), drawn anew each time
            "color"        plus u − ½; then the distance from the mean of the channels times 2u; then that from the
                           mean of the picture times u + ½ (brightness, saturation, contrast)
            "translation"  by whole pixels, each way up to an eighth of the side (rounded) in both axes; zeros come in
            "cutout"       zeros in a rectangle of half the height and width (rounded), its centre anywhere

    Returns the images' shape and dtype, channels-last where they are, else contiguous; affine in the images, and
    differentiable. Colours are computed in float32, or float64, and rounded once. What is moved or cut out leaves no
    trace, NaN neither. ValueError or TypeError, naming the argument, for anything else.
    """
    check.sample("images", images)
    if images.ndim != 4:
        raise ValueError(f"images has shape {tuple(images.shape)}, expected (N, C, H, W)")
    if seeds is None:
        raise TypeError(f"seeds is None, expected an int64 tensor ({images.shape[0]},)")
    check.seeds(seeds, images.shape[0], images)
    if isinstance(policy, str):
        raise TypeError(f"policy is {policy!r}, expected several names: ({policy!r},) for one")
    for place, name in enumerate(policy):
        check_name(f"policy[{place}]", name, CHANGES)
    if not policy:
        return images
    uniforms = _uniforms(seeds)
    y = images
    if "color" in policy:
        y = _recoloured(y, uniforms[:, 0:3])
    if "translation" in policy:
        y = _translated(y, uniforms[:, 3:5])
    if "cutout" in policy:
        y = _cut_out(y, uniforms[:, 5:7])
    channels_last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return y.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def _uniforms(seeds: Tensor) -> Tensor:
    """(N, 8) float64 in (0, 1), one a word of the first two blocks: each change has words of its own."""
    words = philox_words(seeds, 7, torch.zeros_like(seeds), STREAM_AUGMENTATION)
    return ((words >> 9).to(torch.float64) + 0.5) * 2.0**-23


def _recoloured(x: Tensor, uniforms: Tensor) -> Tensor:
    """Brightness, saturation and contrast, in this order, by a uniform number each."""
    y = x if x.dtype == torch.float64 else x.float()
    brightness, saturation, contrast = uniforms.to(y.dtype)[..., None, None, None].unbind(1)
    y = y + (brightness - 0.5)
    grey = y.mean(1, keepdim=True)
    y = torch.lerp(grey, y, 2 * saturation)
    level = y.mean((1, 2, 3), keepdim=True)
    return torch.lerp(level, y, contrast + 0.5).to(x.dtype)


def _translated(x: Tensor, uniforms: Tensor) -> Tensor:
    """Moved down and right by whole numbers of pixels, one of 2·most + 1 each, zeros where nothing was."""
    for axis, uniform in zip((2, 3), uniforms.unbind(1), strict=True):
        most = _part(x.shape[axis], _SHIFT)
        moved = torch.floor(uniform * (2 * most + 1)).long() - most
        source = _places(x, axis) - _each(moved)
        inside = (source >= 0) & (source < x.shape[axis])
        # Kept in range, for the gradient of what stands outside is added to where it was read: as 0.
        read = x.gather(axis, source.clamp(0, max(x.shape[axis] - 1, 0)).expand_as(x))
        x = torch.where(inside, read, 0)
    return x


def _cut_out(x: Tensor, uniforms: Tensor) -> Tensor:
    """Zeros in a rectangle, which the picture's edge may cut off to a half."""
    hole = torch.ones((), dtype=torch.bool, device=x.device)
    for axis, uniform in zip((2, 3), uniforms.unbind(1), strict=True):
        side = _part(x.shape[axis], _HOLE)
        centre = torch.floor(uniform * (x.shape[axis] + 1 - side % 2)).long()
        within = _places(x, axis) - _each(centre - side // 2)
        hole = hole & (within >= 0) & (within < side)
    return torch.where(hole, 0, x)


def _part(side: int, share: float) -> int:
    """The share of the side in whole pixels, a half rounded up."""
    return math.floor(side * share + 0.5)


def _places(x: Tensor, axis: int) -> Tensor:
    """0, 1, ... along the axis of (1, 1, H, W)."""
    places = torch.arange(x.shape[axis], device=x.device)
    return places[:, None] if axis == 2 else places


def _each(values: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, 1)."""
    return values[:, None, None, None]

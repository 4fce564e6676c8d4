"""What the packed weights of a graph's convolutions take, and which algorithms a limit of memory allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from genfuse import env
from genfuse.rewrite import patterns

if TYPE_CHECKING:
    from genfuse.rewrite.fuse import Unit


def choose_algorithms(units: Sequence[Unit], memory_limit: int | None) -> None:
    """Takes Winograd from the convolutions where it is worth least, until all packed weights fit.

    Winograd's weights are four times as many as the kernel's (seven times for a transposed convolution) and what they
    save grows with the picture: the smallest pictures go first. Weights for direct convolution are the least there is,
    and may exceed the limit.
    """
    if memory_limit is None or env.backend_missing("cpu") is not None:
        return
    held = sum(packed_bytes(unit) for unit in units)
    for unit in sorted(units, key=_pixels):
        if held <= memory_limit:
            return
        before = packed_bytes(unit)
        unit.settings = unit.settings._replace(accuracy="exact")
        held += packed_bytes(unit) - before


def algorithm(unit: Unit) -> str:
    """What the CPU's kernels run: "winograd" or "direct"."""
    from genfuse_kernels.conv_norm_act.cpu_impl import convolution

    return convolution(
        patterns.shape(unit.weight) or (), unit.settings, patterns.value(unit.conv).dtype
    ).algorithm


def packed_bytes(unit: Unit) -> int:
    """Of a convolution's weights in the order that its kernel reads them, and as they are with a norm folded in."""
    from genfuse_kernels.conv_norm_act.cpu_impl import convolution

    shape = patterns.shape(unit.weight) or ()
    packed = convolution(shape, unit.settings, patterns.value(unit.conv).dtype).packed_size
    return 4 * (packed + (math.prod(shape) if unit.folded is not None else 0))


def _pixels(unit: Unit) -> int:
    height, width = (patterns.shape(unit.conv) or (0, 0))[-2:]
    return height * width

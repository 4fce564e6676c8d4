"""Samples that several processes share, each with the bits that it has where one process makes them all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from genfuse.processes import Processes
from genfuse.train.pictures import Pictures
from genfuse.train.system import System


def parts(
    system: System[Any], count: int, processes: Processes, *, seed: int = 0, batch: int = 64, **options: Any
) -> Iterator[tuple[int, Pictures]]:
    """Those of ``system.sample(count)`` that are this process's, part by part: (number of the first, samples).

    A part is a whole number of batches, for a network's bits may depend on the batch that a sample is computed in, and
    of turns through the classes. Parts go to the processes in turn.

    Args:
        system: a trained one.
        count: samples of all processes together.
        processes: which of them this is.
        seed, batch, options: as ``system.sample`` has them.
    """
    size = math.lcm(batch, max(1, len(system.class_names)))
    for first in range(processes.rank * size, count, processes.world * size):
        yield first, system.sample(min(size, count - first), seed=seed + first, batch=batch, **options)

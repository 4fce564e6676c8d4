"""Threads that sample at once: each picture as alone, memory that does not grow.

    python tests/reliability/sampling_threads.py --threads 8 --seconds 600

Networks are of genfuse's ops, so that a picture is promised to the bit. The number of threads of an op changes between
calls. Memory is the process's resident set after a tenth of the time and at the end.
"""

from __future__ import annotations

import argparse
import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import torch
from torch import Tensor

import genfuse

SAMPLERS = ("ddim", "dpmpp_2m", "unipc", "euler_ancestral", "dpmpp_2m_sde", "lcm")
SHAPES = ((1, 3, 16, 16), (2, 3, 24, 20), (3, 3, 9, 17))
GROWTH = 1 << 26  # bytes that a process may gain: caches of blocks that are used again fill up


def network(x: Tensor, t: Tensor) -> Tensor:
    """Two units."""
    hidden = genfuse.ops.conv_norm_act(x, FIRST, padding=1)
    out = genfuse.ops.conv_norm_act(
        hidden,
        LAST,
        padding=1,
        norm="group",
        num_groups=4,
        activation="silu",
        shift=t[:, None].expand(-1, 3) * 1e-4,
    )
    assert isinstance(out, Tensor)
    return out


FIRST = torch.randn(16, 3, 3, 3, generator=torch.Generator().manual_seed(0)) / 6
LAST = torch.randn(3, 16, 3, 3, generator=torch.Generator().manual_seed(1)) / 12


def picture(sampler: str, shape: tuple[int, ...], seed: int) -> Tensor:
    return genfuse.sample(network, shape, sampler=sampler, steps=4, seeds=seed)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=600)
    told = parser.parse_args()
    torch.set_num_threads(1)
    kinds = list(itertools.product(SAMPLERS, SHAPES, range(3)))
    alone = {kind: picture(*kind) for kind in kinds}
    drawn, start = itertools.count(), time.monotonic()
    stop = threading.Event()

    def draw_on(number: int) -> None:
        draw = random.Random(number)
        while not stop.is_set():
            torch.set_num_threads(draw.choice((1, 2, 3)))
            kind = draw.choice(kinds)
            assert torch.equal(picture(*kind), alone[kind]), f"{kind} is another picture than alone"
            next(drawn)

    process = psutil.Process()
    with ThreadPoolExecutor(told.threads) as threads:
        futures = [threads.submit(draw_on, number) for number in range(told.threads)]
        time.sleep(told.seconds / 10)
        early = process.memory_info().rss
        while time.monotonic() - start < told.seconds and not any(future.done() for future in futures):
            time.sleep(0.05)
        late = process.memory_info().rss
        stop.set()
        for future in futures:
            future.result()
    grown = late - early
    print(
        f"{next(drawn)} calls of sample on {told.threads} threads in {time.monotonic() - start:.0f} s, each as alone; "
        f"resident memory {early / 2**20:.0f} MiB after a tenth, {late / 2**20:.0f} at the end"
    )
    assert grown < GROWTH, f"memory grew by {grown / 2**20:.0f} MiB"


if __name__ == "__main__":
    main()

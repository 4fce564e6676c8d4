"""The ladder of `gradient_penalty`: versions of WGAN-GP's penalty from double backward to genfuse's, on DCGAN's critic.

A version is a Python file with `gradient_penalty(critic, x, weight)`: the penalty at the points x (N, 3, H, H), whose
backward gives the weights' gradients. It is held against double backward in float64 before it is timed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from genfuse.penalties.points import point_of
from genfuse_bench import python_ladder
from genfuse_bench.critics import WIDTH, dcgan_critic
from genfuse_bench.gradient_penalty import OURS, PEERS, WEIGHT, Critic, allowed, pictures, weight_gradients
from genfuse_bench.lab import EFFORT, LabRow
from genfuse_bench.largest_error import largest_error
from genfuse_bench.timing import Effort

OP = "gradient_penalty"
SHAPES = ((16, 3, 32, 32), (16, 3, 64, 64))
SIDES = (32, 64, 128)

Version = Callable[[nn.Module, Tensor, float], Tensor]


def read_version(path: Path) -> Version:
    """ValueError where the file has no such function."""
    return python_ladder.read_version(path, OP, "critic, x, weight")


def race(
    steps: Sequence[Path],
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    effort: Effort = EFFORT,
    width: int = WIDTH,
) -> list[LabRow]:
    """Each version, and genfuse's, on each shape. ValueError for one that DCGAN's critic does not take."""
    versions = {step.name: read_version(step) for step in steps}
    for shape in shapes:
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or shape[2] not in SIDES:
            raise ValueError(f"shape is {shape}, expected (N, 3, H, H) with H one of {SIDES}")
    return [row for shape in shapes for row in _race(versions, shape, effort, width)]


def _race(versions: dict[str, Version], shape: tuple[int, ...], effort: Effort, width: int) -> list[LabRow]:
    torch.manual_seed(0)
    network = dcgan_critic(shape[2], width=width)
    real, fake = pictures(shape[0], shape[2])
    theirs = Critic(PEERS[0], copy.deepcopy(network).double(), real.double(), fake.double())
    exact = theirs.gradients()
    ours = Critic(OURS, network, real, fake)
    runs: dict[str, Callable[[], list[Tensor]]] = {
        name: partial(
            _gradients, version, copy.deepcopy(network), point_of("interpolates", real, fake, 0).detach()
        )
        for name, version in versions.items()
    }
    runs["genfuse cpu"] = ours.gradients
    errors = {name: largest_error(run(), exact) for name, run in runs.items()}
    bound = allowed(largest_error(Critic(PEERS[0], network, real, fake).gradients(), exact), kinked=True)
    workload = f"DCGAN {shape[2]}, value and weights' gradients"
    return python_ladder.rows(OP, workload, shape, runs, versions, errors, bound, effort)


def _gradients(version: Version, network: nn.Module, x: Tensor) -> list[Tensor]:
    return weight_gradients(version(network, x, WEIGHT), network)

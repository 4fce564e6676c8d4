"""Rows of `genfuse bench quality`: how good the shipped checkpoint's pictures are, by sampler and steps, and the cost.

The Fréchet distance is that of the project's own extractor to all pictures of the training data; pictures of a sampler
and a number of steps have the same seeds and classes as those of any other. Their error is that of two pictures,
sampled by the network and the sampler in float64 from the same noise: no more than twice what PyTorch's own kernels
are off by.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

import genfuse
from genfuse import Sampler, data, evaluate, systems
from genfuse.evaluate import Moments
from genfuse.systems.ddpm import DDPM
from genfuse.systems.sampling import SHIPPED
from genfuse_bench.largest_error import largest_error
from genfuse_bench.measurement import TimedRow
from genfuse_bench.timing import Call, Effort, Trajectory, measure

GROWTH, LEAST = 2.0, 1e-4
"""The error of a row that reports a speed: twice PyTorch's, or the last; relative to the largest value."""

SAMPLERS = ("ddim", "euler", "dpmpp_2m", "unipc", "heun", "ddpm")
STEPS = (5, 10, 20, 50)
BATCH = 8
"""Pictures of a timed call."""

CHECKED = 2
"""Pictures that are held against float64."""


@dataclass(frozen=True)
class QualityRow(TimedRow):
    """One sampler at one number of steps."""

    op: str
    workload: str
    solver: str
    steps: int
    evaluations: int
    """of the network for a picture: guidance makes two of each"""
    shape: tuple[int, ...]
    """of a timed call"""
    dtype: str
    threads: int
    device: str
    count: int
    """pictures that the distance is of"""
    seed: int
    fid: float
    real_fid: float
    """of as many real pictures to all others"""
    ours_ms: float | None
    """a batch; None where it is too wrong, or was not timed"""
    error: float
    torch_error: float

    @property
    def refused(self) -> bool:
        """Whether the error forbids to report a speed."""
        return not self.error <= max(LEAST, GROWTH * self.torch_error)


@dataclass(frozen=True)
class Subject:
    """The checkpoint, and how it is asked for pictures."""

    system: DDPM
    guidance: float
    seed: int

    @classmethod
    def shipped(cls, guidance: float, seed: int) -> Subject:
        """What comes with genfuse."""
        system = systems.load(SHIPPED)
        assert isinstance(system, DDPM)
        return cls(system, guidance, seed)

    @property
    def name(self) -> str:
        """For rows."""
        return f"{SHIPPED.stem}, guidance {self.guidance:g}"

    def runner(self, solver: str, steps: int, seed: int) -> Sampler:
        """As `genfuse sample` makes it."""
        config = self.system.config
        levels: dict[str, Any] = {"schedule": config.schedule, "prediction": config.prediction}
        return Sampler(solver, steps, **levels, clip=1.0, guidance=self.guidance, seeds=seed)

    def pictures(self, count: int, solver: str, steps: int) -> Tensor:
        """By ours: (count, 3, H, W)."""
        return self.system.sample(
            count, seed=self.seed, sampler=solver, steps=steps, guidance=self.guidance
        ).images

    def errors(self, solver: str, steps: int) -> tuple[float, float]:
        """(ours, PyTorch's kernels) against float64, of `CHECKED` pictures, relative to the largest value."""
        exact = self._plain(copy.deepcopy(self.system.model).double(), solver, steps, torch.float64)
        theirs = self._plain(self.system.model, solver, steps, torch.float32)
        ours = self.pictures(CHECKED, solver, steps)
        return largest_error([ours], [exact]), largest_error([theirs], [exact])

    def _plain(self, model: torch.nn.Module, solver: str, steps: int, dtype: torch.dtype) -> Tensor:
        labels = torch.arange(CHECKED) % max(1, len(self.system.class_names))
        cond = {"label": labels} if self.system.class_names else {}
        shape, runner = (CHECKED, *self.system.image_shape), self.runner(solver, steps, self.seed)
        with genfuse.backend("reference"), torch.no_grad():
            made: Any = genfuse.sample(model.eval(), shape, sampler=runner, cond=cond, dtype=dtype)
        found: Tensor = made
        return found


class Distances:
    """To the pictures that the checkpoint was trained on."""

    def __init__(self, count: int, seed: int) -> None:
        """ValueError where there are not twice as many real pictures as `count`."""
        images = data.load("openmoji", 32).images  # type: ignore[union-attr]
        if count > len(images) // 2:
            raise ValueError(f"count is {count}, expected at most half of the {len(images)} real pictures")
        self._encoder = evaluate.encoder()
        features = evaluate.features_of(self._encoder, images)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        self._real = Moments.of(features)
        few, others = (Moments.of(features[part]) for part in (order[:count], order[count:]))
        self.of_real = float(evaluate.frechet_distance(few, others))

    def of(self, pictures: Tensor) -> float:
        """Of pictures of ours."""
        features = evaluate.features_of(self._encoder, pictures)
        return float(evaluate.frechet_distance(Moments.of(features), self._real))


def quality_row(subject: Subject, distances: Distances, solver: str, steps: int, count: int) -> QualityRow:
    """Without a time."""
    error, torch_error = subject.errors(solver, steps)
    evaluations = len(subject.runner(solver, steps, 0)) * (2 if subject.guidance != 1 else 1)
    return QualityRow(
        op="quality",
        workload=subject.name,
        solver=solver,
        steps=steps,
        evaluations=evaluations,
        shape=(BATCH, *subject.system.image_shape),
        dtype="float32",
        threads=torch.get_num_threads(),
        device="cpu",
        count=count,
        seed=subject.seed,
        fid=distances.of(subject.pictures(count, solver, steps)),
        real_fid=distances.of_real,
        ours_ms=None,
        error=error,
        torch_error=torch_error,
    )


def timed(subject: Subject, rows: Sequence[QualityRow], effort: Effort) -> list[QualityRow]:
    """The rows with the time of a batch, all of them in turn."""
    calls: Mapping[str, Callable[[], object]] = {
        f"{row.solver} {row.steps}": partial(subject.pictures, BATCH, row.solver, row.steps) for row in rows
    }
    trajectories: dict[str, Trajectory] = {name: Call(call) for name, call in calls.items()}
    taken = measure(trajectories, range(1), torch.device("cpu"), effort)
    found = []
    for row, name in zip(rows, calls, strict=True):
        own = taken.only({name: "ours"})
        timing = own.timing(None if row.refused else "ours")
        found.append(replace(row, timing=timing, ours_ms=None if row.refused else own.us["ours"] / 1e3))
    return found

"""Rows of `genfuse bench systems`: a training step, and a batch of samples, of each system beside plain PyTorch's.

Everyone has the same file of the system, the same weights, pictures and random numbers; what differs is who computes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from genfuse import data, systems
from genfuse.data import Data
from genfuse_bench.own_process import peaks_mb
from genfuse_bench.system_step import COMPILED, EAGER, OURS, Sampling, SystemStep
from genfuse_bench.timing import Effort, Trajectory, measure
from genfuse_bench.training import TrainingRow, row_of

SAMPLES = 64
"""A batch of them."""
_STEPS, _CPU = range(1), torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A system as everyone has it: data, batch and settings are the system's own where nothing is said."""

    name: str
    size: int | None = 32
    batch: int | None = None
    samples: int = SAMPLES
    changes: tuple[tuple[str, Any], ...] = ()
    source: str | None = None

    @property
    def data(self) -> Data:
        """What the system is trained on, at this size where it has one."""
        source = self.source or systems.SYSTEMS[self.name].data
        return data.load(source, None if source in (*data.MIXTURES, *data.TEXTS) else self.size)

    def of(self, who: str) -> SystemStep:
        """A competitor's."""
        return SystemStep(self.name, who, self.data, self.batch, dict(self.changes))


def system_rows(
    case: Case,
    peers: Sequence[str],
    effort: Effort,
    *,
    peaks: bool = True,
    tell: Callable[[str], object] = print,
) -> list[TrainingRow]:
    """A row of training and one of sampling; no speed where results differ from eager PyTorch's by more than rounding.

    peers  of `WHO` but ours; eager runs in any case, for the results are held against its
    peaks  measure memory too, each competitor in a process of its own
    tell   is told of peers that do not run the system, which have no time then
    """
    who = {each: case.of(each) for each in dict.fromkeys((OURS, EAGER, *peers))}
    problems = {peer: _problem(who[peer], case.samples) for peer in peers if peer not in (OURS, EAGER)}
    for peer, problem in problems.items():
        if problem:
            tell(f"{case.name}, {peer}: {problem}")
            del who[peer]
    peers = [peer for peer in peers if peer in who]
    shape = (who[OURS].run.batch_size, *who[OURS].system.image_shape)
    error = first_step_error(who[OURS], who[EAGER])
    kept = {name: each.activation_bytes() / 1e6 for name, each in who.items() if name != COMPILED}
    kinked = any(
        isinstance(part, (nn.ReLU, nn.LeakyReLU)) or _has_kink(part) for part in who[OURS].system.modules()
    )
    steps: dict[str, Trajectory] = {name: who[name] for name in (OURS, *peers)}
    taken = measure(steps, _STEPS, _CPU, effort)
    step = row_of("system_step", case.name, shape, taken, error, float("nan"), kept, kinked=kinked)
    if peaks:
        alone = (OURS, *(peer for peer in peers if peer != COMPILED))
        step = replace(step, peak_mb=peaks_mb(prepared, alone, case))
    off = sample_error(who[OURS], who[EAGER], case.samples)
    batches: dict[str, Trajectory] = {name: Sampling(who[name], case.samples) for name in (OURS, *peers)}
    taken = measure(batches, _STEPS, _CPU, effort)
    of_samples = (case.samples, *shape[1:])
    return [step, row_of("system_sample", case.name, of_samples, taken, off, float("nan"), {}, kinked=kinked)]


def _problem(peer: SystemStep, samples: int) -> str | None:
    """Why a peer does not run: compilers refuse things."""
    try:
        peer.begin()
        peer.step(0)
        peer.sample(samples)
    except Exception as reason:
        return f"{type(reason).__name__}: {str(reason).strip().splitlines()[0][:160]}"
    return None


def first_step_error(ours: SystemStep, eager: SystemStep) -> float:
    """The largest difference between the numbers that a first step logs, relative to eager's."""
    for each in (ours, eager):
        each.begin()
        each.step(0)
    assert ours.numbers.keys() == eager.numbers.keys()
    return max(_relative(ours.numbers[name], eager.numbers[name]) for name in eager.numbers)


def sample_error(ours: SystemStep, eager: SystemStep, count: int) -> float:
    """The largest difference between samples of the same weights, relative to the largest value."""
    weights = copy.deepcopy(eager.system.state_dict())
    ours.system.load_state_dict(weights)
    return _relative(ours.sample(count), eager.sample(count))


def _relative(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want.double()).abs().max() / want.double().abs().max().clamp(min=1e-6))


def _has_kink(module: nn.Module) -> bool:
    settings = getattr(module, "settings", None)
    return getattr(settings, "activation", "none") in ("relu", "leaky_relu")


def prepared(case: Case, who: str) -> Callable[[], object]:
    """A second step, whose peak of memory is measured."""
    one = case.of(who)
    one.begin()
    one.step(0)
    return lambda: one.step(1)

"""Trajectories of genfuse's schedulers beside diffusers' own classes, in float64."""

from __future__ import annotations

import datetime
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from genfuse import schedulers

SHAPE = (2, 3, 4, 4)

IN_FLOAT64 = 1e-6
"""Relative difference allowed where diffusers' step computes in float64 once its tables are lifted."""
IN_FLOAT32 = 1e-5
"""... and where it computes in float32 whatever it is given: Euler its sample, DPM2 its middle levels."""


NAMES = tuple(schedulers.__all__)
each = pytest.mark.parametrize("name", NAMES)
ON_A_SCHEDULE = tuple(name for name in NAMES if "beta_start" in getattr(schedulers, name).config_names())
"""Those with betas; the others know only noise levels."""


def ours(name: str, **config: Any) -> Any:
    """genfuse's scheduler of a name."""
    return getattr(schedulers, name)(**config)


def peer_class(name: str) -> Any:
    """diffusers' class of a name; the test is skipped where it cannot be had here."""
    if name == "DPMSolverSDEScheduler":
        pytest.importorskip("torchsde", reason="diffusers' class needs it")
    return getattr(diffusers, name)


def peers(name: str, **config: Any) -> Any:
    """diffusers' scheduler of a name; skipped as `peer_class`."""
    return peer_class(name)(**config)


@dataclass(frozen=True)
class Case:
    """One configuration of one class, and what its step is given."""

    name: str
    config: dict[str, Any]
    steps: int
    options: dict[str, Any] = field(default_factory=dict)
    stochastic: bool = False
    tolerance: float = IN_FLOAT64

    def __str__(self) -> str:
        options = {**self.config, **self.options}
        return "-".join([self.name, str(self.steps), *(f"{name}={value}" for name, value in options.items())])


def sampled(cases: Iterable[Case], count: int) -> list[Case]:
    """Every case under GENFUSE_PROOF=1, else `count` that rotate with the day (GENFUSE_DAY repeats one)."""
    everything = list(cases)
    if os.environ.get("GENFUSE_PROOF", "") not in ("", "0"):
        return everything
    day = os.environ.get("GENFUSE_DAY", datetime.datetime.now(datetime.timezone.utc).date().isoformat())
    return random.Random(day).sample(everything, min(count, len(everything)))


def network(x: Tensor, timestep: Tensor | float, channels: int = 1) -> Tensor:
    """A cheap smooth stand-in for a network: every output mixes every input and the time."""
    size = x[0].numel()
    mixing = torch.randn(
        size, size * channels, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    mixed = torch.tanh(x.flatten(1).double() @ mixing / size**0.5 + float(timestep) / 1000)
    return mixed.reshape(x.shape[0], x.shape[1] * channels, *x.shape[2:]).to(x.dtype)


def in_float64(scheduler: Any) -> Any:
    """diffusers' scheduler, its float32 tables lifted, so that its own step computes in float64."""
    for name, value in vars(scheduler).items():
        if isinstance(value, Tensor) and value.dtype == torch.float32 and name != "timesteps":
            setattr(scheduler, name, value.double())
    return scheduler


def start() -> Tensor:
    """The noise that every trajectory starts from."""
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def trajectory(
    scheduler: Any, x: Tensor, *, begin: int = 0, channels: int = 1, seed: int | None = None, **options: Any
) -> Tensor:
    """(steps + 1, *SHAPE): x scaled to the scheduler's start and everything after it."""
    if seed is not None:
        options["generator"] = torch.Generator().manual_seed(seed)
    x = x * scheduler.init_noise_sigma
    visited = [x]
    for timestep in scheduler.timesteps[begin:]:
        output = network(scheduler.scale_model_input(x, timestep), timestep, channels)
        x = scheduler.step(output, timestep, x, **options).prev_sample
        visited.append(x)
    return torch.stack([x.double() for x in visited])


def both(name: str, config: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """(diffusers' scheduler in float64, ours) of one configuration, set_timesteps called on both."""
    theirs, ours = getattr(diffusers, name)(**config), getattr(schedulers, name)(**config)
    theirs.set_timesteps(*args, **kwargs)
    ours.set_timesteps(*args, **kwargs)
    return in_float64(theirs), ours


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of any step, relative to that step's largest value. NaN counts as infinite."""
    assert ours.shape == theirs.shape
    assert bool(torch.isfinite(theirs).all()), "the peer's own trajectory is not finite"
    worst = ((ours - theirs).flatten(1).abs().amax(1) / theirs.flatten(1).abs().amax(1)).max()
    return float(torch.nan_to_num(worst, nan=float("inf")))


def check(case: Case) -> None:
    """The whole trajectory, the times it was taken at and the start's scale."""
    theirs, ours = both(case.name, case.config, case.steps)
    torch.testing.assert_close(ours.timesteps.double(), theirs.timesteps.double(), rtol=0, atol=2e-3)
    torch.testing.assert_close(
        float(ours.init_noise_sigma), float(theirs.init_noise_sigma), rtol=1e-6, atol=0
    )
    if hasattr(
        theirs, "set_begin_index"
    ):  # where two nodes round to one time, the time alone does not say which
        theirs.set_begin_index(0)
        ours.set_begin_index(0)
    seed = 3 if case.stochastic else None
    channels = 2 if case.config.get("variance_type") == "learned_range" else 1
    expected = trajectory(theirs, start(), channels=channels, seed=seed, **case.options)
    got = trajectory(ours, start(), channels=channels, seed=seed, **case.options)
    assert difference(got, expected) <= case.tolerance

"""`ContinuousBatch`: samples that join and leave at any step share the network's batch.

What a step does to a sample depends on its own row of coefficients and its own noise alone, so the tables of all
samples, one below the other, are one table, and one kernel steps samples of different solvers, lengths and guidance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor

from genfuse.ops import check, philox_normal, sampler_reduce, sampler_step_
from genfuse.samplers.loop import Model, check_arguments, split
from genfuse.samplers.sampler import Sampler, as_seeds, as_shape
from genfuse.samplers.stepper import DeviceRows
from genfuse_kernels.philox_normal.spec import STREAM_STEP
from genfuse_kernels.sampler_step.row import COLUMN, HISTORY_SLOTS

DTYPES = (torch.float32, torch.float64)
"""Of the samples: noise is drawn before the step, and a half-precision tensor would round it."""

_PREVIOUS_NOISE = [COLUMN["y_noise_prev"], COLUMN["s_noise_prev"]]

Condition = Mapping[str, Tensor]


@dataclass(eq=False)
class _Member:
    """A sample in the batch, and the row that it is before."""

    ticket: int
    sampler: Sampler
    seed: Tensor
    cond: Condition
    uncond: Condition
    row: int = 0

    @property
    def guided(self) -> bool:
        return self.sampler.guided


class ContinuousBatch:
    """One network for samples that come and go.

        batch = genfuse.ContinuousBatch(model, (3, 32, 32), capacity=16)
        first = batch.join(genfuse.Sampler("dpmpp_2m", 20), seed=1)
        batch.step()
        second = batch.join(genfuse.Sampler("ddpm", 50, guidance=3.0), seed=2, cond=..., uncond=...)
        while len(batch):
            for ticket, sample in batch.step().items(): ...

    model     as `genfuse.sample`'s, called once a step with as many rows as there are members, and one more for each
              that is guided
    shape     of one sample, (C, H, W) or others
    capacity  members at most
    batch_sizes  the network is given the smallest of these that holds its rows, the first one repeated; beyond
              the largest, and where None, as many as there are. For networks that plan for each batch size
    learned_variance  whether the model returns twice the channels, output and log-variance
    dtype     of the samples: float32 or float64

    A sample is bit for bit what `genfuse.sample` makes of the same sampler and seed alone, where the network's own
    rows do not depend on each other or on their number: genfuse's ops keep that, PyTorch's linear and convolution do
    not. ValueError or TypeError for what does not fit. For one thread at a time.
    """

    def __init__(
        self,
        model: Model,
        shape: Sequence[int],
        *,
        capacity: int = 16,
        batch_sizes: Sequence[int] | None = None,
        learned_variance: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        check_arguments(model, None, None, None)
        if dtype not in DTYPES:
            raise TypeError(f"dtype is {dtype}, expected torch.float32 or torch.float64")
        for name, sizes in (("capacity", [capacity]), ("batch_sizes", batch_sizes or [])):
            if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
                raise ValueError(
                    f"{name} is {sizes if name != 'capacity' else capacity}, expected at least 1"
                )
        self.shape, self.capacity = as_shape((1, *shape))[1:], capacity
        self._model, self._learned_variance = model, learned_variance
        self._batch_sizes = sorted(batch_sizes or [])
        self._x = torch.empty((capacity, *self.shape), dtype=dtype, device=check.device("device", device))
        self._history = self._x.new_empty((HISTORY_SLOTS, *self._x.shape))
        self._members: list[_Member] = []
        self._tickets = 0
        self._like: Condition | None = None
        """What conditions look like, by the first that joined."""
        self._arrangement: _Arrangement | None = None

    def __len__(self) -> int:
        """Members now."""
        return len(self._members)

    @property
    def free(self) -> int:
        """How many may join."""
        return self.capacity - len(self)

    def join(
        self,
        sampler: Sampler,
        seed: SupportsIndex,
        *,
        cond: Condition | None = None,
        uncond: Condition | None = None,
        init: Tensor | None = None,
    ) -> int:
        """Take a sample in, from the next step on. Returns the ticket that `step` and `leave` know it by.

        sampler  says solver, steps, schedule, guidance, clip; only read: many may join with the same
        seed     64 bits
        cond, uncond  the model's keyword arguments for this sample with and without its condition, tensors without
                 the batch axis; of the same names, shapes and dtypes for all. uncond only where the sampler is guided
        init     shape, a picture to start from, at the sampler's `strength`

        ValueError or TypeError for what does not fit, RuntimeError where the batch is full; the batch is as it was.
        """
        if not isinstance(sampler, Sampler):
            raise TypeError(f"sampler is {type(sampler).__name__}, expected a genfuse.Sampler")
        if sampler.learned_variance and not self._learned_variance:
            raise ValueError(
                "sampler needs a learned variance, expected ContinuousBatch(learned_variance=True)"
            )
        if not self.free:
            raise RuntimeError(f"the batch is full ({self.capacity} members): step until one leaves")
        seeds = as_seeds([seed], 1, self._x.device)
        cond, uncond = self._conditions(sampler, cond, uncond)
        to = self._x[len(self)]
        if init is None:
            started = sampler.start((1, *self.shape), seeds=seeds, dtype=to.dtype, device=to.device)
        else:
            check.sample("init", init)
            check.like("init", init, to)
            started = sampler.add_noise(init[None], 0, seeds)
        to.copy_(started[0])
        self._like = cond
        self._tickets += 1
        self._members.append(_Member(self._tickets, sampler, seeds, cond, uncond))
        self._arrangement = None
        return self._tickets

    def leave(self, ticket: int) -> None:
        """Give a sample up. KeyError for a ticket that is not, or no more, in the batch."""
        for place, member in enumerate(self._members):
            if member.ticket == ticket:
                return self._remove(place)
        raise KeyError(f"ticket {ticket} is not in the batch")

    @torch.no_grad()
    def step(self) -> dict[int, Tensor]:
        """Every member's next row. Returns the samples that are done, by ticket; these have left.

        What the model raises goes through, and the batch is as before the step.
        """
        if not self._members:
            return {}
        plan = self._arrangement
        if plan is None:
            plan = self._arrangement = _Arrangement(self._members, self._batch_sizes, self._x)
        x = self._x[: len(self)]
        rows = torch.tensor([member.row for member in self._members], device=x.device)
        index = rows + plan.first
        output, uncond, variance = self._network(plan, index, x)
        noise = noise_prev = None
        if plan.stochastic:
            noise = self._noise(plan, rows)
        if plan.previous_noise:
            noise_prev = self._noise(plan, (rows - 1).clamp_(min=0))
        table, scales = plan.table, None
        if plan.reduces:
            scales = sampler_reduce(x, output, table, index, uncond=uncond)
        sampler_step_(
            x,
            output,
            table,
            index,
            out=x,
            uncond=uncond,
            variance=variance,
            history=self._history[:, : len(self)],
            noise=noise,
            noise_prev=noise_prev,
            scales=scales,
        )
        for member in self._members:
            member.row += 1
        return self._done()

    def _network(
        self, plan: _Arrangement, index: Tensor, x: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(output, output without the condition, log-variance) of each member, by one call of the model."""
        seen = x if plan.input_scale is None else x * _beside(plan.input_scale[index], x)
        times = plan.times[index]
        if plan.source is not None:
            seen, times = seen[plan.source], times[plan.source]
        whole, variance = split(self._model(seen, times, **plan.conditions), seen, self._learned_variance)
        members, guided = len(x), len(plan.guided)
        uncond = None
        if guided == members:
            uncond = whole[members : 2 * members]
        elif guided:
            uncond = torch.zeros_like(x)
            uncond[plan.guided] = whole[members : members + guided]
        return whole[:members], uncond, None if variance is None else variance[:members]

    def _noise(self, plan: _Arrangement, rows: Tensor) -> Tensor:
        """By the row of each member's own table, as when it is alone; the step's own would go by the joint table's."""
        shape = (len(self), *self.shape)
        return philox_normal(plan.seeds, shape, row=rows, stream=STREAM_STEP, dtype=self._x.dtype)

    def _done(self) -> dict[int, Tensor]:
        done = {}
        for place in reversed(range(len(self))):
            member = self._members[place]
            if member.row == len(member.sampler):
                done[member.ticket] = self._x[place].clone()
                self._remove(place)
        return dict(reversed(done.items()))

    def _remove(self, place: int) -> None:
        """The last member moves to where one leaves, so that members stay together in memory."""
        last = self._members.pop()
        if place < len(self):
            self._members[place] = last
            self._x[place].copy_(self._x[len(self)])
            self._history[:, place].copy_(self._history[:, len(self)])
        self._arrangement = None

    def _conditions(
        self, sampler: Sampler, cond: Condition | None, uncond: Condition | None
    ) -> tuple[Condition, Condition]:
        check_arguments(self._model, cond, uncond, None)
        cond, uncond = cond or {}, uncond or {}
        if uncond and not sampler.guided:
            raise ValueError(
                "uncond is given without guidance, expected a Sampler(guidance=...) other than 1"
            )
        like = cond if self._like is None else self._like
        for name, given in (("cond", cond), ("uncond", uncond if sampler.guided else cond)):
            for key, value in given.items():
                if not isinstance(value, Tensor):
                    raise TypeError(
                        f"{name}[{key!r}] is {type(value).__name__}, expected a tensor without batch axis"
                    )
            if _form(given) != _form(like):
                raise ValueError(
                    f"{name} is {_form(given)}, expected {_form(like)}: the model is called once for all, "
                    "so the arguments of all have the same names, shapes and dtypes"
                )
        return cond, uncond


class _Arrangement:
    """What a step needs of the members together, from one join or leave to the next."""

    def __init__(self, members: list[_Member], batch_sizes: list[int], x: Tensor) -> None:
        samplers = [member.sampler for member in members]
        rows = torch.cat([_own_rows(sampler) for sampler in samplers])
        self.table = DeviceRows(rows).beside(x)
        starts = [0]
        for sampler in samplers:
            starts.append(starts[-1] + len(sampler))
        self.first = torch.tensor(starts[:-1], device=x.device)
        self.seeds = torch.cat([member.seed for member in members])
        self.stochastic = any(sampler.table.stochastic for sampler in samplers)
        self.previous_noise = bool(rows[:, _PREVIOUS_NOISE].any())
        self.reduces = bool((rows[:, [COLUMN["rescale"], COLUMN["quantile"]]] != 0).any())
        self.times = torch.cat([sampler.timesteps for sampler in samplers]).to(x)
        scale = torch.from_numpy(np.concatenate([sampler.table.input_scale for sampler in samplers]))
        self.input_scale = None if bool((scale == 1).all()) else scale.to(x)
        guided = [place for place, member in enumerate(members) if member.guided]
        self.guided = torch.tensor(guided, dtype=torch.int64, device=x.device)

        places = [*range(len(members)), *guided]
        conditions = [member.cond for member in members] + [members[place].uncond for place in guided]
        size = next((size for size in batch_sizes if size >= len(places)), len(places))
        conditions += [members[0].cond] * (size - len(places))
        places += [0] * (size - len(places))
        self.source = None if size == len(members) else torch.tensor(places, device=x.device)
        """The member that each of the network's rows is of; None: they are the members."""
        self.conditions: dict[str, Any] = {
            key: torch.stack([condition[key] for condition in conditions]).to(x.device)
            for key in conditions[0]
        }


def _own_rows(sampler: Sampler) -> Tensor:
    """A member's table: unguided it is not rescaled, also where another one brings an output without condition."""
    if sampler.guided:
        return sampler.table.rows
    return sampler.table.with_guidance(1.0).rows


def _beside(values: Tensor, x: Tensor) -> Tensor:
    """(N,) so that it multiplies (N, ...) a sample."""
    return values.view(-1, *[1] * (x.ndim - 1))


def _form(condition: Condition) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {key: (tuple(value.shape), value.dtype) for key, value in sorted(condition.items())}

"""`ContinuousBatch`: whoever else is in the batch, a sample is the one that `genfuse.sample` makes of it alone."""

# ruff: noqa: E501 (a bad call and its whole message stand on one line)

from __future__ import annotations

import random
from datetime import date
from typing import Any

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse import ContinuousBatch, Sampler
from genfuse.nn.unet import UNet, UNetConfig
from genfuse.samplers import names

SHAPE = (3, 5, 7)


def network(x: Tensor, t: Tensor, shift: Tensor | None = None) -> Tensor:
    """By arithmetic alone, whose results do not depend on the batch."""
    held = x * 0.5 + (t / 1000).view(-1, 1, 1, 1)
    return held if shift is None else held + shift.view(-1, 1, 1, 1)


def run(batch: ContinuousBatch, arrivals: list[dict[str, Any]], every: int = 2) -> list[Tensor]:
    """One request joins every few steps, before the first ones are done; what each became, in order."""
    waiting, tickets, done = list(arrivals), [], {}
    for now in range(10_000):
        if waiting and now % every == 0 and batch.free:
            tickets.append(batch.join(**waiting.pop(0)))
        done |= batch.step()
        if not waiting and not len(batch):
            return [done[ticket] for ticket in tickets]
    raise AssertionError("the batch does not end")


def alone(
    model: Any,
    sampler: Sampler,
    seed: int,
    cond: dict[str, Tensor] | None = None,
    uncond: dict[str, Tensor] | None = None,
    init: Tensor | None = None,
    shape: tuple[int, ...] = SHAPE,
    **options: Any,
) -> Tensor:
    one = {"cond": cond, "uncond": uncond}
    stacked = {name: {k: v[None] for k, v in given.items()} for name, given in one.items() if given}
    picture = None if init is None else init[None]
    made = genfuse.sample(
        model, (1, *shape), sampler=sampler, seeds=[seed], init=picture, **stacked, **options
    )
    assert isinstance(made, Tensor)
    return made[0]


def assert_as_alone(
    batch: ContinuousBatch, model: Any, arrivals: list[dict[str, Any]], **options: Any
) -> None:
    for arrival, found in zip(arrivals, run(batch, arrivals), strict=True):
        expected = alone(model, **arrival, **options)
        assert found.isfinite().all() and torch.equal(found, expected), arrival


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_solver_beside_every_other(dtype: torch.dtype) -> None:
    solvers = [name for name in names() if not name.startswith("flow")]
    random.Random(date.today().toordinal()).shuffle(solvers)
    arrivals = [{"sampler": Sampler(name, 4 + n % 5), "seed": 2**63 + n} for n, name in enumerate(solvers)]
    batch = ContinuousBatch(network, SHAPE, capacity=6, dtype=dtype)
    assert_as_alone(batch, network, arrivals, dtype=dtype)


def test_guidance_rescale_threshold_schedules_and_pictures_share_a_batch() -> None:
    shifts = [{"shift": torch.tensor(float(n))} for n in range(4)]
    threshold = genfuse.samplers.Clip(quantile=0.9, threshold_max=2.0)
    arrivals: list[dict[str, Any]] = [
        {"sampler": Sampler("ddim", 7, guidance=3.0), "seed": 1, "cond": shifts[1], "uncond": shifts[0]},
        {"sampler": Sampler("ddpm", 9, clip=threshold), "seed": 2, "cond": shifts[2]},
        {"sampler": Sampler("euler", 6, schedule="edm"), "seed": 3, "cond": shifts[0]},
        {"sampler": Sampler("unipc", 5, guidance=0.0), "seed": 4, "cond": shifts[1], "uncond": shifts[3]},
        {"sampler": Sampler("flow_heun", 4, schedule="flow"), "seed": 5, "cond": shifts[3]},
        {"sampler": Sampler("dpmpp_2m_sde", 8, guidance=2.0, guidance_rescale=0.7), "seed": 6, "cond": shifts[2], "uncond": shifts[0]},
        {"sampler": Sampler("lcm", 4, guidance_rescale=0.7), "seed": 7, "cond": shifts[2]},
        {"sampler": Sampler("euler_ancestral", 9, strength=0.5), "seed": 8, "cond": shifts[1], "init": torch.linspace(-1, 1, 105).view(SHAPE)},
    ]  # fmt: skip
    assert_as_alone(ContinuousBatch(network, SHAPE, capacity=8), network, arrivals)
    assert_as_alone(ContinuousBatch(network, SHAPE, capacity=5, batch_sizes=[4, 8]), network, arrivals)


def test_learned_variance() -> None:
    def model(x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([x * 0.5, torch.tanh(x)], dim=1)

    sampler = Sampler("ddpm", 6, variance_type="learned_range")
    arrivals = [{"sampler": sampler, "seed": seed} for seed in range(4)]
    assert_as_alone(ContinuousBatch(model, SHAPE, learned_variance=True), model, arrivals)
    with pytest.raises(ValueError, match="learned_variance=True"):
        ContinuousBatch(model, SHAPE).join(sampler, 0)


def test_a_network_of_our_ops() -> None:
    """Our kernels' rows do not depend on the batch."""
    torch.manual_seed(0)
    config = UNetConfig(num_classes=3, channels=(16, 32), attention_levels=(1,), embedding_channels=32)
    unet = UNet(config).eval()
    with torch.no_grad():  # the last convolution begins at zero
        for parameter in unet.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    label = [{"label": torch.tensor(n)} for n in range(4)]
    arrivals: list[dict[str, Any]] = [
        {"sampler": Sampler("dpmpp_2m", 4), "seed": 1, "cond": label[0]},
        {"sampler": Sampler("ddpm", 3, guidance=2.5), "seed": 2, "cond": label[1], "uncond": label[3]},
        {"sampler": Sampler("heun", 2), "seed": 3, "cond": label[2]},
        {"sampler": Sampler("dpmpp_sde", 2, guidance=4.0), "seed": 4, "cond": label[0], "uncond": label[3]},
    ]
    shape = (config.in_channels, 8, 8)
    assert_as_alone(ContinuousBatch(unet, shape, capacity=4), unet, arrivals, shape=shape)


def test_a_member_that_leaves_changes_nobody() -> None:
    batch = ContinuousBatch(network, SHAPE, capacity=3)
    samplers = [Sampler("dpmpp_3m", 6), Sampler("ddpm", 8), Sampler("pndm", 6)]
    tickets = [batch.join(sampler, seed) for seed, sampler in enumerate(samplers)]
    with pytest.raises(RuntimeError, match="the batch is full"):
        batch.join(samplers[0], 9)
    for _ in range(3):
        assert batch.step() == {}
    batch.leave(tickets[0])
    assert len(batch) == 2 and batch.free == 1
    with pytest.raises(KeyError, match="not in the batch"):
        batch.leave(tickets[0])
    done: dict[int, Tensor] = {}
    while len(batch):
        done |= batch.step()
    assert set(done) == set(tickets[1:]) and batch.step() == {}
    for seed in (1, 2):
        assert torch.equal(done[tickets[seed]], alone(network, samplers[seed], seed))


def test_a_model_that_fails_leaves_the_batch_as_it_was() -> None:
    fails = [False]

    def model(x: Tensor, t: Tensor) -> Tensor:
        if fails[0]:
            raise OSError("the network is gone")
        return network(x, t)

    batch = ContinuousBatch(model, SHAPE)
    sampler = Sampler("dpmpp_2m_sde", 5)
    ticket = batch.join(sampler, 7)
    batch.step()
    fails[0] = True
    with pytest.raises(OSError, match="is gone"):
        batch.step()
    fails[0] = False
    done: dict[int, Tensor] = {}
    while len(batch):
        done |= batch.step()
    assert torch.equal(done[ticket], alone(network, sampler, 7))


BAD = [
    ({"sampler": "ddim", "seed": 0}, TypeError, "sampler is str, expected a genfuse.Sampler"),
    ({"seed": 2**64}, ValueError, "seed is 18446744073709551616, expected 64 bits"),
    ({"seed": "1"}, TypeError, "expected ints"),
    ({"cond": {"shift": 1.0}}, TypeError, "cond['shift'] is float, expected a tensor without batch axis"),
    ({"cond": {"other": torch.tensor(0.0)}}, ValueError, "the arguments of all have the same names, shapes and dtypes"),
    ({"cond": {"shift": torch.tensor([0.0])}}, ValueError, "cond is {'shift': ((1,), torch.float32)}, expected {'shift': ((), torch.float32)}"),
    ({"cond": {}}, ValueError, "cond is {}, expected {'shift': ((), torch.float32)}"),
    ({"uncond": {"shift": torch.tensor(0.0)}}, ValueError, "uncond is given without guidance"),
    ({"sampler": Sampler(guidance=2.0)}, ValueError, "uncond is {}, expected {'shift'"),
    ({"init": torch.zeros(3, 5, 8)}, ValueError, "init has shape (3, 5, 8), expected"),
    ({"init": torch.zeros(SHAPE, dtype=torch.float64)}, TypeError, "init has dtype torch.float64, expected"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "kind", "message"), BAD)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    given: dict[str, Any], kind: type[Exception], message: str
) -> None:
    batch = ContinuousBatch(network, SHAPE)
    arrival = {"sampler": Sampler("ddim", 3), "seed": 5, "cond": {"shift": torch.tensor(1.0)}}
    ticket = batch.join(**arrival)
    with pytest.raises(kind) as caught:
        batch.join(**(arrival | given))
    assert message in str(caught.value)
    done: dict[int, Tensor] = {}
    while len(batch):
        done |= batch.step()
    assert list(done) == [ticket] and torch.equal(done[ticket], alone(network, **arrival))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"capacity": 0}, ValueError, "capacity is 0, expected at least 1"),
        ({"batch_sizes": [4, 0]}, ValueError, "batch_sizes is [4, 0], expected at least 1"),
        ({"dtype": torch.bfloat16}, TypeError, "dtype is torch.bfloat16, expected torch.float32 or"),
        ({"model": None}, TypeError, "model is NoneType, expected a callable"),
        ({"shape": (3, -1)}, ValueError, "expected (N, ...) with no negative size"),
    ],
)
def test_a_batch_that_cannot_be(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        ContinuousBatch(**({"model": network, "shape": SHAPE} | options))
    assert message in str(caught.value)

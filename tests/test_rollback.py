"""A step that fails leaves parameters, running statistics and counts as they were, and the next one is right."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch._dynamo.reset()


class Enlarge(nn.Module):
    """A layer of as many pixels as it is told: of 2**40 there is no room anywhere."""

    side = 12

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, size=(self.side, self.side))


class Watched(nn.Identity):
    """Where hooks are put: no unit takes it along."""


def network() -> Any:
    """Batch norms that average all ways, a spectral norm's vectors, and layers behind them that may fail."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(8, 8, 3, padding=1)),
        nn.BatchNorm2d(8, momentum=None),
        Watched(),
        nn.Conv2d(8, 4, 1),
        Enlarge(),
        nn.Conv2d(4, 2, 3, padding=1),
    )


def state_of(model: nn.Module) -> State:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one: State, other: State) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def alike(one: State, other: State) -> bool:
    return all(torch.allclose(value, other[name], rtol=1e-3, atol=1e-5) for name, value in one.items())


class Gone(Exception):
    """What a layer or hook may raise."""


def _raises(*_: Any) -> None:
    raise Gone("a later layer")


def _interrupts(*_: Any) -> None:
    raise KeyboardInterrupt


def out_of_memory(model: Any) -> Callable[[], None]:
    model[7].side = 2**20
    return lambda: setattr(model[7], "side", 12)


def hook(what: Callable[..., None]) -> Callable[[Any], Callable[[], None]]:
    return lambda model: model[5].register_forward_hook(what).remove


def layer(model: Any) -> Callable[[], None]:
    model[5].forward = _raises
    return lambda: model[5].__dict__.pop("forward")


FAILURES: dict[str, tuple[Callable[[Any], Callable[[], None]], type[BaseException]]] = {
    "out of memory": (out_of_memory, RuntimeError),
    "a hook": (hook(_raises), Gone),
    "a layer": (layer, Gone),
    "an interrupt": (hook(_interrupts), KeyboardInterrupt),
}
"""How to make a model fail, what takes that back, and what is raised."""


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("failure", FAILURES)
def test_a_forward_of_an_optimised_model(failure: str) -> None:
    """With gradients and without; and the steps after it are those of a twin that never failed."""
    breaks, raised = FAILURES[failure]
    models = [network()]
    models.append(copy.deepcopy(models[0]))
    calls = [genfuse.optimize(model) for model in models]
    optimizers = [torch.optim.SGD(model.parameters(), 0.1) for model in models]
    batches = torch.randn(4, 2, 3, 12, 12)
    for call, optimizer in zip(calls, optimizers, strict=True):
        step(call, optimizer, batches[0])
    before, mend = state_of(models[0]), breaks(models[0])
    for gradients in (True, False):
        with pytest.raises(raised), torch.set_grad_enabled(gradients):
            calls[0](batches[1])
        assert same(state_of(models[0]), before)
    mend()
    for batch in batches[2:]:
        for call, optimizer in zip(calls, optimizers, strict=True):
            step(call, optimizer, batch)
    got, want = map(state_of, models)
    assert alike(got, want) and not alike(got, before)
    if failure == "out of memory":  # of a forward that raises by itself Dynamo makes no graphs any more
        assert same(got, want)


@pytest.mark.parametrize("failure", ["out of memory", "a hook"])
def test_the_first_forward(failure: str) -> None:
    """While Dynamo is at it, or right behind."""
    model = network()
    before, (breaks, raised) = state_of(model), FAILURES[failure]
    mend, x = breaks(model), torch.randn(2, 3, 12, 12)
    optimized = genfuse.optimize(model)
    with pytest.raises(raised):
        optimized(x)
    assert same(state_of(model), before)
    mend()
    twin = copy.deepcopy(model)
    assert torch.allclose(optimized(x), twin(x), atol=1e-4)
    assert alike(state_of(model), state_of(twin))


@pytest.mark.filterwarnings("ignore")  # what detects anomalies says so
@pytest.mark.parametrize(
    ("failure", "optimised"),
    [("anomaly in the loss", False), ("a hook of backward", False), ("anomaly in a unit", True)],
)
def test_a_whole_step(failure: str, optimised: bool) -> None:
    """Backward fails when the forward has moved everything; what is the optimizer's is never reached."""
    model = network()
    call = genfuse.optimize(model) if optimised else model
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    step(call, optimizer, torch.randn(2, 3, 12, 12))
    before, moments = state_of(model), copy.deepcopy(optimizer.state_dict())

    def fails() -> None:
        x = torch.randn(2, 3, 12, 12)
        optimizer.zero_grad()
        y = call(x)
        if failure == "anomaly in the loss":
            loss = (y - y.detach()).sqrt().sum() * 0
        elif failure == "anomaly in a unit":
            y.register_hook(lambda gradient: torch.full_like(gradient, torch.inf) * (y != y.max()))
            loss = y.sum()
        else:
            y.register_hook(_raises)
            loss = y.sum()
        loss.backward()
        optimizer.step()

    with torch.autograd.detect_anomaly(check_nan=True), pytest.raises((RuntimeError, Gone)):
        fails()
    assert not same(state_of(model), before), "as PyTorch: a forward that succeeded has moved its statistics"
    model.load_state_dict(before)
    anomalies, raised = torch.autograd.detect_anomaly(check_nan=True), pytest.raises((RuntimeError, Gone))
    with anomalies, raised, genfuse.rollback_on_failure(model):
        fails()
    assert same(state_of(model), before)
    after = optimizer.state_dict()["state"]
    for number, kept in moments["state"].items():
        assert all(torch.equal(after[number][name], value) for name, value in kept.items())
    step(call, optimizer, torch.randn(2, 3, 12, 12))
    assert not same(state_of(model), before)


def test_what_is_put_back() -> None:
    """Buffers assigned anew too, by identity; of modules in training alone; nothing where nothing failed."""

    class Averaging(nn.Module):
        mean: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("absent", None)

        def forward(self, x: Tensor) -> Tensor:
            self.mean = 0.9 * self.mean + x
            return self.mean

    model = nn.ModuleList([Averaging(), Averaging(), nn.LazyBatchNorm2d()])
    trained: Any = model[0]
    evaluated: Any = model[1].eval()
    kept = trained.mean
    with pytest.raises(Gone), genfuse.rollback_on_failure(model, trained):
        for each in (trained, evaluated):
            each(torch.ones(3))
        kept.fill_(torch.nan)
        _raises()
    assert trained.mean is kept and torch.equal(kept, torch.zeros(3))
    assert torch.equal(evaluated.mean, torch.ones(3))
    with genfuse.rollback_on_failure(model):
        trained(torch.ones(3))
    assert torch.equal(trained.mean, torch.ones(3))

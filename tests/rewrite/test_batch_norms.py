"""Batch norms of an optimised model in training: what they remember, in every way that `torch.nn` has to."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse

KINDS: dict[str, dict[str, Any]] = {
    "moving": {},
    "cumulative": {"momentum": None},
    "of the batch": {"track_running_stats": False, "affine": False},
}


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch._dynamo.reset()


def network(**options: Any) -> nn.Module:
    """A norm before a convolution, one that a norm follows, and one of a sequence's length behind."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8, **options),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, padding=1),
        nn.BatchNorm2d(6, **options),
        nn.BatchNorm2d(6),
        nn.Flatten(2),
        nn.BatchNorm1d(6, **options),
    )


def alike(got: nn.Module, want: nn.Module) -> None:
    """In state, counts to the last."""
    for (name, mine), theirs in zip(got.state_dict().items(), want.state_dict().values(), strict=True):
        assert mine.dtype == theirs.dtype and torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("kind", KINDS)
def test_modes_in_turn(kind: str) -> None:
    """Training, without gradients too, and eval, with gradients too: values, gradients, statistics and counts."""
    plain = network(**KINDS[kind])
    model = copy.deepcopy(plain)
    optimized: Any = genfuse.optimize(model)
    for step, (training, gradients) in enumerate(
        [(1, 1), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1), (1, 1)]
    ):
        x = torch.randn(3, 3, 7, 6) * (1 + step) + step
        results = []
        for one in (plain, optimized):
            one.train(bool(training))
            with torch.set_grad_enabled(bool(gradients)):
                leaf = x.clone().requires_grad_(bool(gradients))
                y = one(leaf)
            wanted = [leaf, *one.parameters()] if gradients else []
            results.append(
                [y, *(torch.autograd.grad((y * y.detach().sin()).sum(), wanted) if gradients else ())]
            )
        for want, got in zip(*results, strict=True):
            assert (got - want).abs().max() <= 1e-3 * want.abs().max() + 1e-4
        alike(model, plain)
    graphs = optimized.report().graphs
    assert len(graphs) == 4, "one for each mode and gradient state"
    trained = next(graph for graph in graphs if graph.gradients)
    assert [unit.steps for unit in trained.fused][1] == ("batch norm", "relu", "convolution")
    assert not any(graph.left for graph in graphs if graph.gradients)


def test_cumulative_is_the_mean_of_all_batches() -> None:
    model = nn.Sequential(nn.BatchNorm2d(4, momentum=None), nn.Conv2d(4, 2, 1))
    optimized: Any = genfuse.optimize(model)
    batches = torch.randn(9, 5, 4, 3, 2) * 3 + 1
    for i, batch in enumerate(batches):
        with torch.set_grad_enabled(i % 3 != 2):
            optimized(batch)
    norm: Any = model[0]
    assert norm.num_batches_tracked == 9 and norm.momentum is None and "forward" not in norm.__dict__
    assert torch.allclose(norm.running_mean, batches.mean((0, 1, 3, 4)), atol=1e-5)
    of_each = batches.transpose(1, 2).flatten(2).var(2)
    assert torch.allclose(norm.running_var, of_each.mean(0), atol=1e-4)
    assert len(optimized.report().graphs) == 2, "the count is no part of what is compiled"
    assert optimized.report().graphs[1].plan.obstacle is None


@pytest.mark.parametrize("shape", [(6, 4), (2, 4, 3, 2, 3)])
def test_cumulative_of_what_is_no_picture(shape: tuple[int, ...]) -> None:
    plain: Any = nn.Sequential(
        nn.BatchNorm1d(4, momentum=None) if len(shape) == 2 else nn.BatchNorm3d(4, momentum=None)
    )
    model = copy.deepcopy(plain)
    optimized = genfuse.optimize(model)
    for _ in range(3):
        x = torch.randn(shape)
        assert torch.allclose(optimized(x), plain(x), atol=1e-5)
    alike(model, plain)


def test_settings_and_hooks_are_followed() -> None:
    """A momentum set to None and back, tracking switched off, a norm frozen alone, a hook on one."""
    plain: Any = network()
    model: Any = copy.deepcopy(plain)
    optimized = genfuse.optimize(model)
    seen: list[Tensor] = []
    for edit in (
        lambda m: setattr(m[1], "momentum", None),
        lambda m: setattr(m[4], "track_running_stats", False),
        lambda m: m[1].eval(),
        lambda m: m[1].train(),
        lambda m: m[1].register_forward_hook(lambda _, given, made: seen.append(made.detach().clone())),
        lambda m: setattr(m[1], "momentum", 0.5),
    ):
        x = torch.randn(4, 3, 6, 6)
        for one in (plain, model):
            edit(one)
        assert torch.allclose(optimized(x), plain(x), atol=1e-4)
        alike(model, plain)
    assert len(seen) == 4 and torch.allclose(seen[0], seen[1], atol=1e-4)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", [(1, 3, 3, 3), (1, 3)])
def test_one_value_a_channel_is_refused_and_nothing_moves(
    momentum: float | None, shape: tuple[int, ...]
) -> None:
    """In `torch.nn`'s words, and not with an error that the caller handles."""
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=momentum), nn.Conv2d(4, 2, 1)]
    model = nn.Sequential(*(layers if len(shape) == 4 else [nn.BatchNorm1d(3, momentum=momentum)]))
    plain = copy.deepcopy(model)
    optimized = genfuse.optimize(model)
    optimized(torch.randn(2, *(2 * size if i else size for i, size in enumerate(shape[1:]))))
    before = copy.deepcopy(model.state_dict())
    for gradients in (True, False):
        raised = []
        for one in (plain, optimized):
            with torch.set_grad_enabled(gradients), pytest.raises(ValueError) as error:
                one(torch.randn(shape))
            raised.append(str(error.value))
        assert raised[0] == raised[1] and "more than 1 value per channel" in raised[0]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_error_that_the_caller_handles_is_not_the_models() -> None:
    optimized = genfuse.optimize(nn.Sequential(nn.Conv2d(3, 4, 3)))
    try:
        raise ValueError("the caller's")
    except ValueError:
        with pytest.raises(RuntimeError, match="to have 3 channels"):
            optimized(torch.randn(2, 4, 5, 5))


class Meeting(nn.Module):
    """A norm on either side of a place where a thread may be made to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.BatchNorm2d(4, momentum=None) for _ in range(2))
        self.conv = nn.Conv2d(4, 2, 1)
        self.wait: Callable[[], object] = bool

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        self.pause()
        return self.conv(self.second(x))  # type: ignore[no-any-return]

    @torch._dynamo.disable  # type: ignore[untyped-decorator]
    def pause(self) -> None:
        self.wait()


def test_threads_train_at_once() -> None:
    """One begins while another is in the model and is in it when that one ends: its norms are fused to the last."""
    model = Meeting()
    optimized: Any = genfuse.optimize(model)
    x = torch.randn(3, 4, 5, 5)
    optimized(x)
    graphs = len(optimized.report().graphs)
    in_model = {"first": threading.Event(), "second": threading.Event()}
    may_end = {"first": threading.Event(), "second": threading.Event()}

    def wait() -> None:
        name = threading.current_thread().name
        in_model[name].set()
        assert may_end[name].wait(60)

    model.wait = wait
    threads = {name: threading.Thread(target=optimized, args=(x,), name=name) for name in in_model}
    for name, thread in threads.items():
        thread.start()
        assert in_model[name].wait(60)
    for name, thread in threads.items():
        may_end[name].set()
        thread.join(60)
        assert not thread.is_alive()
        others = [norm for norm in (model.first, model.second) if "forward" in norm.__dict__]
        assert len(others) == (2 if name == "first" else 0)
    assert model.first.num_batches_tracked == model.second.num_batches_tracked == 3
    assert len(optimized.report().graphs) == graphs == 2
    assert not any(graph.left for graph in optimized.report().graphs)

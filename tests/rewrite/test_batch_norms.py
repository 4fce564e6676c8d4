"""Batch norms of an optimised model in training: what they remember, in every way that `torch.nn` has to."""

from __future__ import annotations

import copy
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


def test_one_value_a_channel_is_refused_and_nothing_moves() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=None), nn.Conv2d(4, 2, 1))
    optimized = genfuse.optimize(model)
    optimized(torch.randn(2, 3, 4, 4))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(Exception, match=r"[Ee]xpected more than 1 value per channel"):
        optimized(torch.randn(1, 3, 3, 3))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

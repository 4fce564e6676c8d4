"""Statistics that a unit measures while it writes are what the next norm, and its running statistics, go by."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse_kernels.norm_stats import cpu_impl


class Counted:
    """`norm_stats` by the C++ kernels, with how often it ran."""

    def __init__(self) -> None:
        self.calls, self._run = 0, cpu_impl.norm_stats

    def __call__(self, out: Tensor, x: Tensor) -> None:
        self.calls += 1
        self._run(out, x)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(cpu_impl, "norm_stats", counted)
    return counted


def chain(norm: type[nn.Module], activated: bool = False) -> nn.Sequential:
    behind = [nn.Tanh()] if activated else []
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), *behind, norm(16), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1)
    )


def gradients(y: Tensor, model: nn.Module) -> list[Tensor]:
    return [y.detach(), *torch.autograd.grad(y.square().mean(), list(model.parameters()))]


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d, lambda c: nn.GroupNorm(4, c)])
@pytest.mark.parametrize("activated", [False, True])
def test_training_measures_once(norm: type[nn.Module], activated: bool, counted: Counted) -> None:
    """In the convolution's own pass, or, where another pass makes its output, once for norm and running statistics."""
    torch.manual_seed(0)
    model = chain(norm, activated)
    eager, x = copy.deepcopy(model), 3 + torch.randn(4, 3, 9, 7)
    fast = genfuse.optimize(model)
    y = fast(x)
    assert counted.calls == int(activated)
    for mine, theirs in zip(gradients(y, model), gradients(eager(x), eager), strict=True):
        assert (mine - theirs).abs().max() <= 1e-5 * (theirs.abs().max() + 1)
    for mine, theirs in zip(model.buffers(), eager.buffers(), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_second_order_through_handed_on_statistics() -> None:
    torch.manual_seed(0)
    model = chain(nn.BatchNorm2d)
    eager, x = copy.deepcopy(model), torch.randn(4, 3, 9, 7, requires_grad=True)
    found = []
    for network, parameters in ((genfuse.optimize(model), model), (eager, eager)):
        (of_x,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
        found.append(
            torch.autograd.grad(of_x.square().sum(), list(parameters.parameters()), allow_unused=True)
        )
    for mine, theirs in zip(*found, strict=True):
        assert (mine is None) == (theirs is None)
        if theirs is not None:
            assert (mine - theirs).abs().max() <= 1e-3 * theirs.abs().max() + 1e-4


def test_a_layer_in_training_measures_once(counted: Counted) -> None:
    layer = genfuse.nn.ConvNormAct(16, 16, norm="batch", activation="relu")
    x = torch.randn(2, 16, 5, 5, requires_grad=True)
    layer(x)
    assert counted.calls == 1
    twin = nn.BatchNorm2d(16)
    twin(x)
    assert isinstance(layer.norm, nn.BatchNorm2d)
    assert torch.allclose(layer.norm.running_var, twin.running_var, rtol=1e-5)  # type: ignore[arg-type]

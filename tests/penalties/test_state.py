"""What a penalty leaves behind: statistics, power iterations and draws of one forward; nothing where it fails."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

import genfuse
from genfuse.errors import UnsupportedError
from genfuse.penalties import recorder
from penalties.critics import scores
from penalties.double_backward import samples

pytestmark = pytest.mark.filterwarnings("ignore:.*reduces over the first axis")

SHAPE = (4, 3, 8, 8)


def stateful() -> nn.Module:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(3, 6, 3, 2, 1)),
        nn.BatchNorm2d(6),
        nn.SiLU(),
        nn.InstanceNorm2d(6, track_running_stats=True),
        genfuse.nn.ConvNormAct(6, 6, norm="batch"),
        nn.Dropout(0.5),
        *scores(6, 4),
    )


def test_state_moves_as_by_one_forward() -> None:
    network = stateful()
    other = copy.deepcopy(network)
    real, _ = samples(SHAPE, torch.float32)
    random = torch.get_rng_state()
    genfuse.gradient_penalty(network, real, kind="r1", seed=1)
    drawn = torch.get_rng_state()
    torch.set_rng_state(random)
    with genfuse.backend("aten"):
        other(real)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert network.state_dict().keys() == other.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.allclose(tensor, other.state_dict()[name], rtol=1e-6), name


class Cube(torch.autograd.Function):
    """What a user may have written, and nobody knows the tangent of."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x**3

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * 3 * x**2


class Cubed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        cube: Tensor = Cube.apply(x)
        return 0.01 * cube


def test_a_failure_leaves_nothing_behind() -> None:
    network = nn.Sequential(*stateful()[:6], Cubed(), *scores(6, 4))  # type: ignore[index]
    before = copy.deepcopy(network.state_dict())
    real, _ = samples(SHAPE, torch.float32)
    with pytest.raises(UnsupportedError):
        genfuse.gradient_penalty(network, real, kind="r1")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(weight.grad is None for weight in network.parameters())


class Trainer:
    """Who has a critic, and calls it in ways of his own."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def scores(self, x: Tensor, scale: float = 1.0) -> Tensor:
        found: Tensor = self.network(x) * scale
        return found

    def written_anew(self) -> Callable[[Tensor], Tensor]:
        return lambda x: self.network(x)


NETWORK: nn.Module = nn.Identity()
"""a test's own"""

CALLS: dict[str, Callable[[nn.Module], Callable[..., Tensor]]] = {
    "module": lambda network: network,
    "method": lambda network: network.forward,
    "closure": lambda network: lambda x: network(x),
    "method of another": lambda network: Trainer(network).scores,
    "closure of another": lambda network: Trainer(network).written_anew(),
    "partial": lambda network: partial(Trainer(network).scores, scale=0.5),
    "global": lambda network: lambda x: NETWORK(x),
}


@pytest.mark.parametrize("call", CALLS)
def test_falling_back_moves_state_once(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), Cubed(), *scores(3, 8))
    monkeypatch.setitem(globals(), "NETWORK", network)
    real, _ = samples(SHAPE, torch.float32)
    genfuse.gradient_penalty(CALLS[call](network), real, kind="r1", fallback="autograd")
    assert network[0].num_batches_tracked == 1


def test_a_fallback_that_fails_leaves_nothing_behind() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), Cubed(), nn.Flatten(0))  # no batch of scores
    before = copy.deepcopy(network.state_dict())
    real, _ = samples(SHAPE, torch.float32)
    with pytest.raises(ValueError, match="what critic returned has shape"):
        genfuse.gradient_penalty(network, real, kind="r1", fallback="autograd")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_coupled_samples_are_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_warned", False)
    network = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), *scores(6, 4))
    real, _ = samples(SHAPE, torch.float32)
    with pytest.warns(
        UserWarning, match=r"critic\.1 \(BatchNorm2d\) reduces over the first axis.*exact all the same"
    ):
        genfuse.gradient_penalty(network, real, kind="r1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        genfuse.gradient_penalty(network, real, kind="r1")


def test_uncoupled_samples_are_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_warned", False)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.LayerNorm([4, 4]), *scores(6, 4)
    ).eval()
    real, _ = samples(SHAPE, torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        genfuse.gradient_penalty(network, real, kind="r1")


def test_the_caller_s_settings_stay() -> None:
    network = stateful()
    real, _ = samples(SHAPE, torch.float32)
    with torch.no_grad():
        penalty = genfuse.gradient_penalty(network, real, kind="r1")
        assert not torch.is_grad_enabled()
    assert isinstance(penalty, Tensor) and not penalty.requires_grad
    assert not real.requires_grad
    with torch.inference_mode():
        inside = real.clone()
        assert isinstance(genfuse.gradient_penalty(network, inside, kind="r1"), Tensor)
        assert torch.is_inference_mode_enabled()

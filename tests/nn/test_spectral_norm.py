"""`spectral_norm` and `spectral_norms` beside PyTorch's parametrisation: the same state after the same steps."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm as pytorchs
from torch.nn.utils.parametrizations import weight_norm

import genfuse
from genfuse.nn import spectral_norm, spectral_norms


def critic(norm=lambda layer: layer) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        norm(nn.Conv2d(3, 8, 4, 2, 1)), nn.LeakyReLU(0.2),
        norm(nn.ConvTranspose2d(8, 6, 4, 2, 1)), nn.SiLU(),
        norm(nn.Conv2d(6, 4, 3, 2)), nn.Flatten(),
        norm(nn.Linear(196, 2)),
    )  # fmt: skip


def three() -> tuple[nn.Module, nn.Module, nn.Module]:
    """Of the same state: PyTorch's, ours layer by layer, and ours together."""
    return critic(pytorchs), critic(spectral_norm), spectral_norms(critic(pytorchs))


def assert_same(*networks: nn.Module) -> None:
    states = [network.state_dict() for network in networks]
    for state in states[1:]:
        assert list(state) == list(states[0])
        for name, tensor in state.items():
            torch.testing.assert_close(tensor, states[0][name], rtol=1e-4, atol=1e-5)


def test_a_seed_gives_pytorchs_state() -> None:
    assert_same(*three())
    before = torch.get_rng_state()
    critic(pytorchs)
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    critic(spectral_norm)
    assert torch.equal(torch.get_rng_state(), after)


def test_training_and_evaluation_follow_pytorchs() -> None:
    networks, x = three(), torch.randn(2, 3, 16, 16)
    for _ in range(4):
        losses = []
        for network in networks:
            network.zero_grad()
            real, fake = network(x), network(2 * x)  # two steps of the power iteration
            loss = (real - fake).square().mean() + real.mean()
            loss.backward()
            losses.append(loss.detach())
            with torch.no_grad():
                for p in network.parameters():
                    p -= 0.05 * p.grad
        torch.testing.assert_close(losses[1], losses[0])
        torch.testing.assert_close(losses[2], losses[0])
        assert_same(*networks)
    results = [network.eval()(x) for network in networks]
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(results[2], results[0])
    before = copy.deepcopy(networks[2].state_dict())
    networks[2](x)
    assert all(torch.equal(before[name], now) for name, now in networks[2].state_dict().items())


def test_a_forward_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    network, calls = spectral_norms(critic()), []
    real = genfuse.ops.spectral_norm

    def counted(weights, *given, **options):
        calls.append(len(weights))
        return real(weights, *given, **options)

    monkeypatch.setattr(genfuse.ops, "spectral_norm", counted)
    network(torch.randn(2, 3, 16, 16))
    assert calls == [4]


def test_layers_keep_what_they_have() -> None:
    network = critic()
    spectral_norm(network[0], n_power_iterations=3)
    pytorchs(network[4], n_power_iterations=2, eps=1e-6)
    before = {name: t.clone() for name, t in network.state_dict().items()}
    spectral_norms(network)
    norms = [network[i].parametrizations.weight[0] for i in (0, 2, 4, 6)]
    assert [norm.n_power_iterations for norm in norms] == [3, 1, 2, 1]
    assert [norm.dim for norm in norms] == [0, 1, 0, 0]
    assert norms[2].eps == 1e-6
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items() if name in after)
    spectral_norms(network)  # once more changes nothing
    assert len(network._forward_pre_hooks) == 1
    assert [len(network[i].parametrizations.weight) for i in (0, 2, 4, 6)] == [1] * 4


def test_a_weight_of_another_parametrisation_gets_spectral_norm_behind_it() -> None:
    torch.manual_seed(2)
    theirs = nn.Sequential(pytorchs(weight_norm(nn.Linear(5, 4))), pytorchs(nn.Linear(4, 3)))
    torch.manual_seed(2)
    ours = spectral_norms(nn.Sequential(weight_norm(nn.Linear(5, 4)), nn.Linear(4, 3)))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5)
    for _ in range(2):
        torch.testing.assert_close(ours(x), theirs(x))
    assert_same(theirs, ours)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("older", [nn.utils.spectral_norm, nn.utils.weight_norm])
def test_weights_that_are_no_parameters_are_named_before_anything_changes(older) -> None:
    network = nn.Sequential(nn.Linear(5, 4), older(nn.Linear(4, 3)))
    before = list(network.state_dict())
    with pytest.raises(ValueError, match=r"weight of 1 \(Linear\) is no parameter, expected one: remove"):
        spectral_norms(network)
    assert list(network.state_dict()) == before
    with pytest.raises(ValueError, match=r"weight of the network \(LazyLinear\) has no sizes yet"):
        spectral_norms(nn.LazyLinear(3))


def test_copies_pickles_and_state_dicts() -> None:
    network, x = spectral_norms(critic()), torch.randn(2, 3, 16, 16)
    network(x)
    copied = copy.deepcopy(network)
    other = critic(pytorchs)
    other.load_state_dict(network.state_dict())
    want = network(x)
    assert torch.equal(copied(x), want)
    torch.testing.assert_close(other(x), want)
    assert (
        copied[0].parametrizations.weight[0]._u.data_ptr()
        != network[0].parametrizations.weight[0]._u.data_ptr()
    )
    assert_same(copied, network, other)
    with pytest.raises(RuntimeError, match="Serialization of parametrized modules"):
        pickle.dumps(network)  # as PyTorch's


class Forked(nn.Module):
    """Uses one layer twice and leaves one out."""

    def __init__(self, norm=lambda layer: layer) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.used, self.idle = norm(nn.Linear(5, 5)), norm(nn.Linear(5, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.used(torch.tanh(self.used(x)))


def test_layers_used_twice_and_left_out() -> None:
    theirs, ours = Forked(pytorchs), spectral_norms(Forked(pytorchs))
    x = torch.randn(3, 5)
    torch.testing.assert_close(ours(x), theirs(x))
    assert_same(ours.used, theirs.used)
    assert ours.idle.parametrizations.weight[0]._ready is None
    ours.idle(x)  # on its own
    with parametrize.cached():
        torch.testing.assert_close(ours(x), theirs(x))


def test_a_failed_forward_leaves_nothing_behind() -> None:
    network = spectral_norms(critic())
    with pytest.raises(RuntimeError):
        network(torch.randn(2, 5, 16, 16))
    assert all(network[i].parametrizations.weight[0]._ready is None for i in (0, 2, 4, 6))


def test_vectors_and_other_tensors() -> None:
    layer = spectral_norm(nn.Linear(4, 3), "bias")
    torch.testing.assert_close(layer.bias.norm(), torch.tensor(1.0))
    with pytest.raises(ValueError, match="kernel is NoneType in Linear, expected a tensor"):
        spectral_norm(nn.Linear(4, 3), "kernel")
    with pytest.raises(ValueError, match="n_power_iterations is 0, expected 1 or more"):
        spectral_norm(nn.Linear(4, 3), n_power_iterations=0)
    with pytest.raises(IndexError, match="dim is 2, expected an axis of a weight with 2"):
        spectral_norm(nn.Linear(4, 3), dim=2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype: torch.dtype) -> None:
    theirs, ours = critic(pytorchs).to(dtype), spectral_norms(critic(pytorchs)).to(dtype)
    x = torch.randn(2, 3, 16, 16, dtype=dtype)
    tolerance = {"rtol": 5e-2, "atol": 5e-2} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(ours(x), theirs(x), **tolerance)


def test_penalties_and_optimized_critics() -> None:
    theirs, ours = critic(pytorchs), spectral_norms(critic(pytorchs))
    real, fake = torch.randn(4, 3, 16, 16), torch.randn(4, 3, 16, 16)
    for network in (theirs, ours):
        genfuse.gradient_penalty(network, real, fake, kind="wgan-gp", seed=3).backward()
    assert_same(theirs, ours)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)
        mine.grad = other.grad = None
    fast = genfuse.optimize(ours)
    fast(real).mean().backward()
    theirs(real).mean().backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)
    assert_same(theirs, ours)

"""The penalty as a function of weights, samples and conditions, against finite differences and autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import genfuse
from genfuse.errors import UnsupportedError
from genfuse.penalties.kinds import KIND_NAMES, KINDS
from genfuse.penalties.points import point_of
from penalties.critics import CRITICS, SHAPE, Projection, perturbed
from penalties.double_backward import LOUD, PENALTIES, samples

pytestmark = pytest.mark.filterwarnings("ignore:.*reduces over the first axis")


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, 2, 1), nn.LayerNorm([3, 3, 3]), nn.SiLU(), nn.Flatten(), nn.Linear(27, 1)
    )


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_finite_differences_of_the_weights(kind: Any) -> None:
    network = perturbed(small()).double()
    names, weights = zip(*network.named_parameters(), strict=True)
    real, fake = samples((3, 2, 6, 6))

    def penalty(*given: Tensor) -> Tensor:
        by_name = dict(zip(names, given, strict=True))
        found = genfuse.gradient_penalty(
            lambda x: LOUD * functional_call(network, by_name, (x,)), real, fake, kind=kind, seed=2
        )
        assert isinstance(found, Tensor)
        return found

    assert torch.autograd.gradcheck(penalty, weights, fast_mode=True)


@pytest.mark.parametrize("kind", KIND_NAMES)
@pytest.mark.parametrize("name", ["layer norm", "convolutions", "minibatch std", "dcgan", "spectral norm"])
def test_of_the_samples(name: str, kind: Any) -> None:
    """A generator's gradient, through the point at which the critic is asked."""
    network = perturbed(CRITICS[name]()).double().eval()
    real, fake = (tensor.requires_grad_() for tensor in samples(SHAPE))

    def critic(x: Tensor) -> Tensor:
        return LOUD * network(x)

    got = genfuse.gradient_penalty(critic, real, fake, kind=kind, seed=3, weight=1.0)
    assert isinstance(got, Tensor)
    found = torch.autograd.grad(got, (real, fake), allow_unused=True, materialize_grads=True)
    x = point_of(KINDS[kind].place, real, fake, 3)
    (g,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    want = PENALTIES[kind](g.flatten(1).norm(dim=1))
    exact = torch.autograd.grad(want, (real, fake), allow_unused=True, materialize_grads=True)
    size = max(float(t.norm()) for t in exact)
    assert all((a - b).norm() <= 1e-10 * max(size, 1e-3) for a, b in zip(found, exact, strict=True))
    assert size > 0 or name in ("dcgan", "spectral norm")


def test_of_conditions() -> None:
    """An embedding that a network outside has made."""
    network = perturbed(nn.Sequential(nn.Linear(5, 8), nn.SiLU())).double()
    outside, condition = nn.Linear(4, 8).double(), torch.randn(3, 4, dtype=torch.float64)
    x = samples((3, 5))[0]

    def critic(x: Tensor, embedded: Tensor) -> Tensor:
        return (network(x) * embedded).sum(1)

    got = genfuse.gradient_penalty(critic, x, kind="r1", weight=1.0, embedded=outside(condition))
    assert isinstance(got, Tensor)
    found = torch.autograd.grad(got, (outside.weight, network[0].weight))  # type: ignore[arg-type]
    x = x.requires_grad_()
    (g,) = torch.autograd.grad(critic(x, outside(condition)).sum(), x, create_graph=True)
    exact = torch.autograd.grad(g.square().sum(1).mean() / 2, (outside.weight, network[0].weight))  # type: ignore[arg-type]
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(found, exact, strict=True))


def test_frozen_weights_have_no_gradient() -> None:
    network = small()
    network.requires_grad_(False)
    penalty = genfuse.gradient_penalty(network, torch.randn(3, 2, 6, 6), kind="r1")
    assert isinstance(penalty, Tensor) and not penalty.requires_grad
    network[0].requires_grad_(True)  # type: ignore[index]
    penalty = genfuse.gradient_penalty(network, torch.randn(3, 2, 6, 6), kind="r1")
    assert isinstance(penalty, Tensor)
    penalty.backward()  # type: ignore[no-untyped-call]
    assert [w.grad is not None for w in network.parameters()] == [True, True, False, False, False, False]


def test_it_is_added_to_a_loss() -> None:
    """Beside the scores' own gradients, which accumulate in the same weights."""
    network = small()
    real, fake = samples((3, 2, 6, 6), torch.float32)
    parts = []
    for loss in (
        lambda: network(fake).mean() - network(real).mean(),
        lambda: genfuse.gradient_penalty(network, real, fake, kind="wgan-gp", seed=1),
        lambda: (
            network(fake).mean()
            - network(real).mean()
            + genfuse.gradient_penalty(network, real, fake, kind="wgan-gp", seed=1)
        ),
    ):
        network.zero_grad()
        loss().backward()
        parts.append(
            [torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in network.parameters()]
        )
    assert all(torch.allclose(a + b, c, atol=1e-6) for a, b, c in zip(*parts, strict=True))


def test_a_second_derivative_is_refused() -> None:
    network = small()
    penalty = genfuse.gradient_penalty(network, torch.randn(3, 2, 6, 6), kind="r1")
    assert isinstance(penalty, Tensor)
    (gradient,) = torch.autograd.grad(penalty, network[0].weight, create_graph=True)  # type: ignore[index]
    with pytest.raises(
        UnsupportedError, match="a gradient penalty is differentiated a second time, expected once"
    ):
        gradient.square().sum().backward()


def test_falling_back_is_double_backward() -> None:
    """Of a module without a rule; one with rules does not fall back."""

    class Sinc(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sinc(x)

    network = perturbed(nn.Sequential(nn.Linear(5, 8), Sinc(), nn.Linear(8, 1))).double()
    weights = list(network.parameters())
    x = samples((3, 5))[0]
    got = genfuse.gradient_penalty(network, x, kind="zero-centered", fake=x, weight=1.0, fallback="autograd")
    assert isinstance(got, Tensor) and type(got.grad_fn).__name__ != "_PenaltyBackward"
    found = torch.autograd.grad(got, weights, allow_unused=True)
    x = x.requires_grad_()
    (g,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
    exact = torch.autograd.grad(g.square().sum(1).mean(), weights, allow_unused=True)
    assert all(a is b or torch.allclose(a, b, rtol=1e-10) for a, b in zip(found, exact, strict=True))
    exact_penalty = genfuse.gradient_penalty(small(), torch.randn(3, 2, 6, 6), kind="r1", fallback="autograd")
    assert type(exact_penalty.grad_fn).__name__ == "_PenaltyBackward"  # type: ignore[union-attr]


def test_falling_back_is_safe_where_the_gradient_is_zero() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.CELU(), nn.Linear(4, 1))
    nn.init.zeros_(network[2].weight)  # type: ignore[arg-type]
    penalty = genfuse.gradient_penalty(
        network, torch.randn(3, 3), torch.randn(3, 3), kind="wgan-gp", fallback="autograd"
    )
    assert isinstance(penalty, Tensor)
    penalty.backward()  # type: ignore[no-untyped-call]
    assert all(w.grad is None or w.grad.isfinite().all() for w in network.parameters())


def test_the_critic_may_be_conditional_by_module() -> None:
    labels = torch.tensor([0, 1, 2, 3])
    penalty = genfuse.gradient_penalty(Projection(), torch.randn(SHAPE), kind="r1", labels=labels)
    assert isinstance(penalty, Tensor) and penalty.requires_grad

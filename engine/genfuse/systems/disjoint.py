"""Two distributions that do not meet: Jensen-Shannon saturates, Wasserstein measures how far they are apart.

Example 1 of Arjovsky et al. 2017 (arXiv:1701.07875): points (0, u) and (θ, u), u uniform in [0, 1]. Their
Jensen-Shannon divergence is log 2 for every θ but 0, and its gradient by θ 0; the Wasserstein distance is |θ|, and its
gradient 1. Here both are estimated as a GAN and a WGAN-GP do it, by a critic that is trained between them:

    python -m genfuse.systems.disjoint
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from genfuse import losses
from genfuse.nn import MLP
from genfuse.penalties import gradient_penalty

DISTANCES = (0.0, 0.25, 0.5, 1.0, 2.0)
_BATCH = 128


@dataclass(frozen=True)
class Estimates:
    """At one θ: what a GAN's critic and what a WGAN-GP's takes the distance for, and its derivative by θ."""

    theta: float
    jensen_shannon: float
    of_jensen_shannon: float
    wasserstein: float
    of_wasserstein: float


def estimates(theta: float, steps: int = 300, seed: int = 0) -> Estimates:
    """Both, by critics of so many steps of Adam."""
    loss, jensen_shannon = _trained("minimax", theta, steps, seed)
    distance, wasserstein = _trained("wasserstein", theta, steps, seed)
    # The critic of eq. 1 at its best has the loss 2 log 2 − 2 JS.
    return Estimates(theta, math.log(2) - loss / 2, -jensen_shannon / 2, -distance, -wasserstein)


def _trained(name: str, theta: float, steps: int, seed: int) -> tuple[float, float]:
    """The critic's loss, and its derivative by θ, after training."""
    loss, generator = losses.get(name), torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = nn.Sequential(MLP((2, 64, 64, 1)), nn.Flatten(0))
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3, (0.0, 0.9))
    place = torch.tensor(theta, requires_grad=True)

    def points(at: Tensor) -> Tensor:
        u = torch.rand(_BATCH, generator=generator)
        return torch.stack((at.expand(_BATCH), u), 1)

    for step in range(steps):
        real, fake = points(torch.zeros(())), points(place.detach())
        total = loss.critic(critic(real), critic(fake))
        if name == "wasserstein":
            penalty = gradient_penalty(critic, real, fake, kind="wgan-gp", seed=step)
            assert isinstance(penalty, Tensor)
            total = total + penalty
        optimizer.zero_grad()
        torch.autograd.backward(total)
        optimizer.step()
    final = loss.critic(critic(points(torch.zeros(()))), critic(points(place)))
    (slope,) = torch.autograd.grad(final, place)
    return final.item(), slope.item()


def main() -> None:
    """Print the table."""
    table = Table("θ", "JS (log 2 = 0.693)", "dJS/dθ", "Wasserstein", "dW/dθ")
    for theta in DISTANCES:
        found = estimates(theta)
        numbers = (found.jensen_shannon, found.of_jensen_shannon, found.wasserstein, found.of_wasserstein)
        table.add_row(f"{theta:g}", *(f"{number:.3f}" for number in numbers))
    Console().print(table)


if __name__ == "__main__":
    main()

"""A WGAN-GP of `genfuse.losses` and `genfuse.gradient_penalty` finds every mode of the mixtures of the plane."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse import losses
from genfuse.data import Mixture, mixture
from genfuse.train.ema import Ema
from triton_proof.seeds import rotating

BATCH = 256


def network(in_features: int, out_features: int) -> nn.Sequential:
    widths = (in_features, 128, 128, 128, out_features)
    layers = [layer for below, above in pairwise(widths) for layer in (nn.Linear(below, above), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def train(generator: nn.Module, critic: nn.Module, data: Mixture, steps: int) -> nn.Module:
    """One critic step a generator step (two time scales); returns the generator of averaged weights."""
    loss, draws = losses.get("wasserstein"), torch.Generator().manual_seed(0)
    averaged = Ema(generator, 0.99)
    of_critic = torch.optim.Adam(critic.parameters(), 2e-3, betas=(0.0, 0.9))
    of_generator = torch.optim.Adam(generator.parameters(), 1e-3, betas=(0.0, 0.9))
    optimizers = of_critic, of_generator
    cooling = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 - 2 * step / steps))
        for optimizer in optimizers
    ]
    for step in range(steps):
        real = data.draw(BATCH, draws)
        with torch.no_grad():
            fake = generator(torch.randn(BATCH, 2, generator=draws))
        penalty = genfuse.gradient_penalty(critic, real, fake, kind="wgan-gp", weight=0.1, seed=step)
        assert isinstance(penalty, Tensor)
        of_critic.zero_grad()
        (loss.critic(critic(real), critic(fake)) + penalty).backward()
        of_critic.step()
        of_generator.zero_grad()
        loss.generator(critic(generator(torch.randn(BATCH, 2, generator=draws)))).backward()
        of_generator.step()
        averaged.update(generator, step)
        for schedule in cooling:
            schedule.step()
    return averaged.model


MIXTURES = [("8-gaussians", 500), ("25-gaussians", 1600), ("swiss-roll", 800)]


@pytest.mark.parametrize(("name", "steps"), [MIXTURES[i] for i in rotating(1, len(MIXTURES))])
def test_every_mode_is_found(name: str, steps: int) -> None:
    """Each part has a fifth of its share of the samples, or more, within 0.25; before training some have none.

    Six seeds of each gave the poorest part 0.33 to 0.75 of its share and all together 0.63 to 0.93: rounding differs
    from processor to processor, and such a training makes another run of it, as another seed does.
    """
    torch.set_num_threads(1)  # the networks are too small for more
    data = mixture(name)
    generator, critic = network(2, 2), network(2, 1)
    latents = torch.randn(10_000, 2, generator=torch.Generator().manual_seed(1))

    def parts(of: nn.Module) -> Tensor:
        with torch.no_grad():
            shares = len(data.centres) * data.shares(of(latents), 0.25)
        # half of the first and of the last centre's part of a curve lies beyond its end
        return shares.unflatten(0, (-1, 2)).mean(1) if name == "swiss-roll" else shares

    assert parts(generator).min() == 0
    trained = parts(train(generator, critic, data, steps))
    assert trained.min() > 0.2, trained
    assert trained.mean() > 0.5, trained

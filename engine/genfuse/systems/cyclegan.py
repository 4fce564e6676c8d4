"""CycleGAN (Zhu et al. 2017, arXiv:1703.10593): pictures of one domain as of another, learnt without pairs.

Generators:       G from domain X to Y and F back, residual networks (appendix 7.2); critics of patches, one a domain
Loss (eq. 1-3):   L(G, D_Y) + L(F, D_X) + λ (E |F(G(x)) − x| + E |G(F(y)) − y|),  L by least squares (section 4)
Identity (5.2):   plus λ · weight · (E |F(x) − x| + E |G(y) − y|), which keeps colours where they may stay
Critics:          are shown a history of fakes (section 4), their loss halved
Step:             one update of both generators together, then one of both critics
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from genfuse import losses
from genfuse.nn import CycleGANGenerator, PatchCritic
from genfuse.nn.patch_critic import initialise
from genfuse.ops import check
from genfuse.systems.image_pool import ImagePool
from genfuse.systems.translation import Translator
from genfuse.train import Adam, RunConfig, Step


@dataclass(frozen=True)
class CycleGANConfig:
    """Attributes:
    width: of generators at full resolution, and of critics.
    num_blocks: residual blocks of a generator.
    halvings: of a critic: patches have 7, 16, 34 or 70 pixels for 0 to 3.
    cycle_weight: λ.
    identity_weight: of the identity loss, beside λ.
    pool: fakes that a critic's history holds.
    generator_optimizer, critic_optimizer: of each side.
    """

    width: int = 24
    num_blocks: int = 3
    halvings: int = 1
    cycle_weight: float = 10.0
    identity_weight: float = 0.5
    pool: int = 50
    generator_optimizer: Adam = field(default_factory=Adam)
    critic_optimizer: Adam = field(default_factory=Adam)

    def __post_init__(self) -> None:
        check.count("width", self.width)
        for name in ("num_blocks", "halvings", "pool"):
            check.count(name, getattr(self, name), 0)
        for name in ("cycle_weight", "identity_weight"):
            check.not_negative(name, getattr(self, name))


class CycleGAN(Translator[CycleGANConfig]):
    """See the module; X is the first of two domains, Y the second."""

    name = "cyclegan"
    config_class = CycleGANConfig

    def build(self) -> None:
        self.check_two_domains()
        c, (channels, _, _) = self.config, self.image_shape
        self.generators = nn.ModuleList(
            CycleGANGenerator(channels, channels, c.width, c.num_blocks) for _ in range(2)
        )
        self.critics = nn.ModuleList(PatchCritic(channels, c.width, c.halvings, "instance") for _ in range(2))
        self.pool_x, self.pool_y = (ImagePool(c.pool, self.image_shape) for _ in range(2))
        self.generators.apply(initialise)

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        return {
            "generator": self.config.generator_optimizer.of(self.generators.parameters()),
            "critic": self.config.critic_optimizer.of(self.critics.parameters()),
        }

    @property
    def averaged(self) -> nn.Module:
        """G and F."""
        return self.generators

    def translated(
        self, averaged: nn.Module, images: Tensor, source: Tensor, target: Tensor, seeds: Tensor
    ) -> Tensor:
        forwards, backwards = (generator(images) for generator in averaged.children())
        return torch.where((target == 1)[:, None, None, None], forwards, backwards)

    def step(self, now: Step) -> None:
        c, loss = self.config, losses.get("least-squares")
        (g, f), (critic_x, critic_y) = self.generators, self.critics
        (x, _), (y, _) = now.batch(0), now.batch(1)
        fake_x, fake_y = f(y), g(x)
        adversarial = 2 * (
            loss.generator(critic_y(fake_y)) + loss.generator(critic_x(fake_x))
        )  # without its half
        cycle = losses.cycle(x, f(fake_y), y, g(fake_x))
        total = adversarial + c.cycle_weight * cycle
        if c.identity_weight:
            total = total + c.cycle_weight * c.identity_weight * losses.identity(x, f(x), y, g(y))
        now.minimise("generator", total)
        now.log(cycle=cycle)
        of_x = loss.critic(critic_x(x), critic_x(self.pool_x.exchanged(fake_x, now)))
        of_y = loss.critic(critic_y(y), critic_y(self.pool_y.exchanged(fake_y, now)))
        now.minimise("critic", of_x + of_y)

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[CycleGANConfig, RunConfig]:
        """Batches of 8, and rates that fall in the second half (section 4)."""
        return cls.config_class(), RunConfig(steps=3000, batch_size=8, cooldown_steps=1500)

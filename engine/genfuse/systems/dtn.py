"""Domain transfer network (Taigman et al. 2017, arXiv:1611.02200): what a given f sees stays, all else is the target's.

Generator (section 4):     G = g ∘ f, of pictures of the source S and of the target T; f is given and stays as it is
Critic (eq. 3 and 4):      tells three kinds: 1 is G(s), 2 is G(t), 3 is t; G wants both of its kinds to be taken for 3
Constancy (eq. 5):         CONST = E |f(s) − f(G(s))|²
Identity (eq. 6):          TID = E |t − G(t)|²
Smoothness (eq. 7):        TV, the length of a picture's gradient
Step:                      one update of D, then one of g by GANG + α CONST + β TID + γ TV

f is the shipped encoder (:mod:`genfuse.evaluate.encoder`), which learnt the labels of digits and OpenMoji. Where it
takes a thing for another one in the target, as it does inverted and turned digits, constancy asks for the wrong thing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genfuse.evaluate.encoder import FEATURES, encoder
from genfuse.ops import check
from genfuse.systems import networks
from genfuse.systems.translation import Translator
from genfuse.train import Adam, RunConfig, Step

FAKE_OF_SOURCE, FAKE_OF_TARGET, REAL = range(3)


@dataclass(frozen=True)
class DTNConfig:
    """Attributes:
    width: of both networks at full resolution, doubled at each coarser one.
    constancy_weight: α, of the mean over features.
    identity_weight: β, of the mean over pixels.
    variation_weight: γ, of the mean over pixels; the paper takes none for digits.
    generator_optimizer, critic_optimizer: of each side.
    """

    width: int = 32
    constancy_weight: float = 15.0
    identity_weight: float = 15.0
    variation_weight: float = 0.0
    generator_optimizer: Adam = field(default_factory=Adam)
    critic_optimizer: Adam = field(default_factory=Adam)

    def __post_init__(self) -> None:
        check.count("width", self.width)
        for name in ("constancy_weight", "identity_weight", "variation_weight"):
            check.not_negative(name, getattr(self, name))


class Transfer(nn.Module):
    """G = g ∘ f: pictures (N, C, S, S) to pictures alike, S = 8, 16, 32, ...

    Args:
        image_shape: (C, S, S). ValueError for another.
        width: of g at full resolution.
    """

    def __init__(self, image_shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        with torch.device("cpu"):  # its weights are read, also where a caller asks for the sizes of g alone
            self.seen = encoder()
        self.made = networks.generator("cnn", FEATURES, image_shape, width)

    def forward(self, images: Tensor) -> Tensor:
        """As the class says."""
        made: Tensor = self.made(self.seen(images))
        return made


class DTN(Translator[DTNConfig]):
    """See the module; the first domain is the source, the second the target."""

    name = "dtn"
    config_class = DTNConfig
    one_way = True

    def build(self) -> None:
        self.check_two_domains()
        if self.image_shape[0] not in (1, 3):
            raise ValueError(f"pictures have {self.image_shape[0]} channels, expected 1 or 3")
        self.generator = Transfer(self.image_shape, self.config.width)
        self.critic = networks.critic("cnn", self.image_shape, self.config.width, outputs=3)

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        return {
            "critic": self.config.critic_optimizer.of(self.critic.parameters()),
            "generator": self.config.generator_optimizer.of(self.generator.made.parameters()),
        }

    @property
    def averaged(self) -> nn.Module:
        """G."""
        return self.generator

    def translated(
        self, averaged: nn.Module, images: Tensor, source: Tensor, target: Tensor, seeds: Tensor
    ) -> Tensor:
        made: Tensor = averaged(images)
        return made

    def step(self, now: Step) -> None:
        c, G = self.config, self.generator
        (s, _), (t, _) = now.batch(0), now.batch(1)
        features = G.seen(torch.cat((s, t)))
        made = G.made(features)  # of both domains at once: batch norm has one mean in use, too
        kinds = {FAKE_OF_SOURCE: made[: len(s)], FAKE_OF_TARGET: made[len(s) :], REAL: t}
        told = [_taken_for(self.critic(images.detach()), kind) for kind, images in kinds.items()]
        now.minimise("critic", torch.stack(told).sum())
        fooled = [_taken_for(self.critic(kinds[kind]), REAL) for kind in (FAKE_OF_SOURCE, FAKE_OF_TARGET)]
        constancy = F.mse_loss(G.seen(kinds[FAKE_OF_SOURCE]), features[: len(s)])
        identity = F.mse_loss(kinds[FAKE_OF_TARGET], t)
        total = torch.stack(fooled).sum() + c.constancy_weight * constancy + c.identity_weight * identity
        if c.variation_weight:
            total = total + c.variation_weight * total_variation(made)
        now.minimise("generator", total)
        now.log(constancy=constancy, identity=identity)

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[DTNConfig, RunConfig]:
        """Rates that fall in the second half."""
        return cls.config_class(), RunConfig(steps=2000, batch_size=32, cooldown_steps=1000)


def total_variation(images: Tensor) -> Tensor:
    """The mean length of pictures' (N, C, H, W) gradient, by differences to the next pixel: eq. 7 with B = 1."""
    down = images[..., 1:, :-1] - images[..., :-1, :-1]
    right = images[..., :-1, 1:] - images[..., :-1, :-1]
    return (down.square() + right.square() + 1e-12).sqrt().mean()  # the root has no slope at nought


def _taken_for(logits: Tensor, kind: int) -> Tensor:
    """Mean −log of the probability (N, 3) that it is of this kind."""
    return F.cross_entropy(logits, torch.full((len(logits),), kind, device=logits.device))

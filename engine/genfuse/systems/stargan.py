"""StarGAN (Choi et al. 2018, arXiv:1711.09020): one generator for all domains, told which one to make.

Generator:        G(x, c), the domain c as one more map for each domain beside the picture (section 3.1)
Critic:           D_src of patches, and D_cls, which domain it is, on the same features
Domains (eq. 2, 3):         D_cls learns from real pictures, G makes what D_cls takes for c
Reconstruction (eq. 4):     E |x − G(G(x, c), c′)|, c′ the domain that x had
Sum (eq. 5, 6):   D:  −L_adv + λ_cls L_cls of real;   G:  L_adv + λ_cls L_cls of fakes + λ_rec L_rec
Adversarial (eq. 8):        Wasserstein with a gradient penalty
Step:             several updates of D, each on a batch of its own, then one of G
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genfuse import losses
from genfuse.nn import ConvNormAct, CycleGANGenerator
from genfuse.ops import check
from genfuse.penalties import gradient_penalty
from genfuse.systems.translation import Translator
from genfuse.train import Adam, RunConfig, Step


@dataclass(frozen=True)
class StarGANConfig:
    """Attributes:
    width: of both networks at full resolution.
    num_blocks: residual blocks of the generator.
    halvings: convolutions of the critic, each of stride 2, before its two heads.
    critic_steps: updates of the critic before each of the generator.
    class_weight: λ_cls.
    reconstruction_weight: λ_rec.
    penalty_weight: λ_gp.
    generator_optimizer, critic_optimizer: of each side.
    """

    width: int = 24
    num_blocks: int = 3
    halvings: int = 3
    critic_steps: int = 3
    class_weight: float = 1.0
    reconstruction_weight: float = 10.0
    penalty_weight: float = 10.0
    generator_optimizer: Adam = field(default_factory=Adam)
    critic_optimizer: Adam = field(default_factory=Adam)

    def __post_init__(self) -> None:
        for name in ("width", "halvings", "critic_steps"):
            check.count(name, getattr(self, name))
        check.count("num_blocks", self.num_blocks, 0)
        for name in ("class_weight", "reconstruction_weight", "penalty_weight"):
            check.not_negative(name, getattr(self, name))


class DomainCritic(nn.Module):
    """(N, C, S, S) → scores of patches (N, 1, h, h), and logits of domains (N, domains)."""

    def __init__(self, channels: int, size: int, config: StarGANConfig, domains: int) -> None:
        super().__init__()
        widths = [channels, *(config.width << place for place in range(config.halvings))]
        self.features = nn.Sequential(
            *(
                ConvNormAct(
                    widths[place],
                    widths[place + 1],
                    4,
                    stride=2,
                    padding=1,
                    norm="none",
                    activation="leaky_relu" if place else "none",
                )
                for place in range(config.halvings)
            )
        )
        self.source = ConvNormAct(widths[-1], 1, norm="none", activation="leaky_relu", bias=False)
        left = size >> config.halvings
        self.domain = ConvNormAct(
            widths[-1], domains, left, padding=0, norm="none", activation="leaky_relu", bias=False
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """D_src and D_cls."""
        features = self.features(images)
        return self.source(features), self.domain(features).flatten(1)


class StarGAN(Translator[StarGANConfig]):
    """See the module; the domains are the data's classes."""

    name = "stargan"
    config_class = StarGANConfig

    def build(self) -> None:
        c, (channels, height, width), domains = self.config, self.image_shape, len(self.class_names)
        multiple = max(4, 1 << c.halvings)
        if height != width or height % multiple:
            raise ValueError(
                f"pictures have {height} x {width} pixels, expected squares, multiples of {multiple}"
            )
        if domains < 2:
            raise ValueError(f"the data has {domains} class, expected several domains, as of openmoji-tones")
        # Borders of zeros: behind reflected ones instance norm would take the label's maps away, being constant.
        self.generator = CycleGANGenerator(channels + domains, channels, c.width, c.num_blocks, "zeros")
        self.critic = DomainCritic(channels, height, c, domains)

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        return {
            "critic": self.config.critic_optimizer.of(self.critic.parameters()),
            "generator": self.config.generator_optimizer.of(self.generator.parameters()),
        }

    @property
    def averaged(self) -> nn.Module:
        """The generator."""
        return self.generator

    def made(self, generator: nn.Module, images: Tensor, domains: Tensor) -> Tensor:
        """G(x, c) of domains (N,)."""
        maps = F.one_hot(domains, len(self.class_names)).to(images.dtype)[:, :, None, None]
        samples: Tensor = generator(torch.cat((images, maps.expand(-1, -1, *images.shape[2:])), 1))
        return samples

    def translated(
        self, averaged: nn.Module, images: Tensor, source: Tensor, target: Tensor, seeds: Tensor
    ) -> Tensor:
        return self.made(averaged, images, target)

    def step(self, now: Step) -> None:
        c, loss, domains = self.config, losses.get("wasserstein"), len(self.class_names)
        scores = nn.Sequential(self.critic.features, self.critic.source)
        for _ in range(c.critic_steps):
            real, labels = now.batch()
            targets = now.integers(domains, len(real))
            with torch.no_grad():
                fake = self.made(self.generator, real, targets)
            of_real, logits = self.critic(real)
            classes = F.cross_entropy(logits, labels)
            penalty = gradient_penalty(
                scores,
                real,
                fake,
                kind="wgan-gp",
                weight=c.penalty_weight,
                seed=now.seed(),
                first=now.first(len(real)),
            )
            assert isinstance(penalty, Tensor)
            total = loss.critic(of_real, scores(fake)) + c.class_weight * classes + penalty
            now.minimise("critic", total)
        fake = self.made(self.generator, real, targets)
        of_fake, logits = self.critic(fake)
        fake_classes = F.cross_entropy(logits, targets)
        reconstruction = losses.l1(self.made(self.generator, fake, labels), real)
        now.minimise(
            "generator",
            loss.generator(of_fake)
            + c.class_weight * fake_classes
            + c.reconstruction_weight * reconstruction,
        )
        now.log(classes=classes, fake_classes=fake_classes, reconstruction=reconstruction)

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[StarGANConfig, RunConfig]:
        """Batches of 16, and rates that fall in the second half (section 5.1)."""
        return cls.config_class(), RunConfig(steps=2000, batch_size=16, cooldown_steps=1000)

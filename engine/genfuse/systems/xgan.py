"""XGAN (Royer et al. 2018, arXiv:1711.05139): two autoencoders whose codes mean the same in both domains.

Reconstruction:    E |x − d₁(e₁(x))|, in both domains (section 3, as all that follows)
Domain critic:     c tells the domain by the code; the encoders hide it from c (Ganin et al. 2016, arXiv:1505.07818)
Semantic:          E |e₁(x) − e₂(d₂(e₁(x)))|, both ways: what is translated has the code that it came from. DTN's
                   f-constancy (Taigman et al. 2017, arXiv:1611.02200) is this with a code that is fixed
GANs:              a critic of pictures in each domain
Step:              one update of encoders and decoders, then one of all critics
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genfuse import losses
from genfuse.nn import MLP
from genfuse.systems.common_latent import CommonLatent, CommonLatentConfig
from genfuse.train import Step


@dataclass(frozen=True)
class XGANConfig(CommonLatentConfig):
    """As :class:`CommonLatentConfig`, and

    Attributes:
        reconstruction_weight: of the reconstruction.
        domain_weight: ω_d, of hiding the domain.
        semantic_weight: ω_s, of the codes' constancy.
        adversarial_weight: ω_g, of the critics of pictures.
    """

    reconstruction_weight: float = 10.0
    domain_weight: float = 0.5
    semantic_weight: float = 5.0
    adversarial_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_weights("reconstruction_weight", "domain_weight", "semantic_weight", "adversarial_weight")


class XGAN(CommonLatent[XGANConfig]):
    """See the module."""

    name = "xgan"
    config_class = XGANConfig

    def build(self) -> None:
        self.check_two_domains()
        super().build()
        self.domain_critic = nn.Sequential(
            nn.Flatten(), MLP((math.prod(self.latent_shape), 64, 1)), nn.Flatten(0)
        )

    def critical(self) -> Iterable[nn.Parameter]:
        return chain(self.critics.parameters(), self.domain_critic.parameters())

    def step(self, now: Step) -> None:
        c, loss, coders = self.config, losses.get("least-squares"), self.coders
        x = [now.batch(domain)[0] for domain in (0, 1)]
        codes = [coders.encode(x[domain], domain) for domain in (0, 1)]
        again = [coders.decode(codes[domain], domain) for domain in (0, 1)]
        fake = [coders.decode(codes[1 - domain], domain) for domain in (0, 1)]
        reconstruction = losses.l1(again[0], x[0]) + losses.l1(again[1], x[1])
        kept = [coders.encode(fake[1 - domain], 1 - domain) for domain in (0, 1)]
        semantic = losses.l1(kept[0], codes[0]) + losses.l1(kept[1], codes[1])
        adversarial = torch.stack(
            [loss.generator(self.critics[domain](fake[domain])) for domain in (0, 1)]
        ).sum()
        hidden = self._confusion(codes, (1.0, 0.0))
        now.minimise(
            "generator",
            c.reconstruction_weight * reconstruction
            + c.semantic_weight * semantic
            + c.domain_weight * hidden
            + c.adversarial_weight * adversarial,
        )
        told = self._confusion([code.detach() for code in codes], (0.0, 1.0))
        now.log(reconstruction=reconstruction, semantic=semantic, domain=told)
        scores = [
            (self.critics[domain](x[domain]), self.critics[domain](fake[domain].detach()))
            for domain in (0, 1)
        ]
        now.minimise("critic", loss.critic(*scores[0]) + loss.critic(*scores[1]) + told)

    def _confusion(self, codes: list[Tensor], labels: tuple[float, float]) -> Tensor:
        """Mean cross-entropy of what the domain critic says of the two domains' codes with these labels."""
        logits = [self.domain_critic(code) for code in codes]
        return torch.stack(
            [
                F.binary_cross_entropy_with_logits(logit, torch.full_like(logit, label))
                for logit, label in zip(logits, labels, strict=True)
            ]
        ).mean()

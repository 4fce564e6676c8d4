"""UNIT (Liu et al. 2017, arXiv:1703.00848): two variational autoencoders with one latent space, and two GANs.

Latents (sec. 3):  q(z|x) = N(E(x), I); the last layers of the encoders, and the first of the decoders, are shared
Autoencoders (eq. 3):  KL(q(z₁|x₁) ‖ N(0, I)) and E |x₁ − G₁(z₁)|, a Laplacian likelihood
GANs (eq. 5):      D₁ sees x₁ and what G₁ makes of the other domain's latents
Cycles (eq. 7):    KL of what is encoded again, and E |x₁ − G₁(z₂)|, z₂ from q(z|G₂(z₁))
Step:              one update of encoders and decoders, then one of both critics
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genfuse import losses
from genfuse.systems.common_latent import CommonLatent, CommonLatentConfig
from genfuse.train import Step


@dataclass(frozen=True)
class UNITConfig(CommonLatentConfig):
    """As :class:`CommonLatentConfig`, and

    Attributes:
        adversarial_weight: λ₀.
        kl_weight: λ₁ and λ₃, of the mean over latents.
        reconstruction_weight: λ₂ and λ₄, of the mean over pixels.
    """

    adversarial_weight: float = 1.0
    kl_weight: float = 0.01
    reconstruction_weight: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_weights("adversarial_weight", "kl_weight", "reconstruction_weight")


class UNIT(CommonLatent[UNITConfig]):
    """See the module."""

    name = "unit"
    config_class = UNITConfig

    def build(self) -> None:
        self.check_two_domains()
        super().build()

    def step(self, now: Step) -> None:
        c, loss, coders = self.config, losses.get("least-squares"), self.coders
        x = [now.batch(domain)[0] for domain in (0, 1)]

        def drawn(mean: Tensor) -> Tensor:
            return mean + now.normal(*mean.shape)

        means = [coders.encode(x[domain], domain) for domain in (0, 1)]
        latents = [drawn(mean) for mean in means]
        again = [coders.decode(latents[domain], domain) for domain in (0, 1)]
        fake = [coders.decode(latents[1 - domain], domain) for domain in (0, 1)]
        fake_means = [coders.encode(fake[domain], domain) for domain in (0, 1)]
        cycled = [coders.decode(drawn(fake_means[1 - domain]), domain) for domain in (0, 1)]
        kl = torch.stack([mean.square().mean() / 2 for mean in (*means, *fake_means)]).sum()
        reconstruction = losses.l1(again[0], x[0]) + losses.l1(again[1], x[1])
        cycle = losses.cycle(x[0], cycled[0], x[1], cycled[1])
        adversarial = torch.stack(
            [loss.generator(self.critics[domain](fake[domain])) for domain in (0, 1)]
        ).sum()
        now.minimise(
            "generator",
            c.adversarial_weight * adversarial
            + c.kl_weight * kl
            + c.reconstruction_weight * (reconstruction + cycle),
        )
        now.log(reconstruction=reconstruction, cycle=cycle, kl=kl)
        scores = [
            (self.critics[domain](x[domain]), self.critics[domain](fake[domain].detach()))
            for domain in (0, 1)
        ]
        now.minimise("critic", loss.critic(*scores[0]) + loss.critic(*scores[1]))

"""ComboGAN (Anoosheh et al. 2018, arXiv:1712.06909): an encoder and a decoder a domain, for any number of domains.

Generators (section 3):   G from domain i to j is decoder j of encoder i: n of each, in the place of n² generators
Loss:                     CycleGAN's of two domains at a time, by least squares: adversarial, cycle, and identity
Step:                     two domains drawn at random; one update of all encoders and decoders, then one of critics
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from genfuse import losses
from genfuse.systems.common_latent import CommonLatent, CommonLatentConfig
from genfuse.train import Step


@dataclass(frozen=True)
class ComboGANConfig(CommonLatentConfig):
    """As :class:`CommonLatentConfig`, of whose blocks none are shared unless asked for, and

    Attributes:
        cycle_weight: λ.
        identity_weight: of a domain's decoder behind its own encoder, beside λ.
    """

    shared: int = 0
    cycle_weight: float = 10.0
    identity_weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_weights("cycle_weight", "identity_weight")


class ComboGAN(CommonLatent[ComboGANConfig]):
    """See the module."""

    name = "combogan"
    config_class = ComboGANConfig

    def step(self, now: Step) -> None:
        c, loss, coders = self.config, losses.get("least-squares"), self.coders
        domains = len(self.class_names)
        first = int(now.integers(domains))
        pair = (first, (first + 1 + int(now.integers(domains - 1))) % domains)
        x = [now.batch(domain)[0] for domain in pair]
        codes = [coders.encode(x[place], pair[place]) for place in (0, 1)]
        fake = [coders.decode(codes[1 - place], pair[place]) for place in (0, 1)]
        cycled = [
            coders.decode(coders.encode(fake[1 - place], pair[1 - place]), pair[place]) for place in (0, 1)
        ]
        kept = [coders.decode(codes[place], pair[place]) for place in (0, 1)]
        cycle = losses.cycle(x[0], cycled[0], x[1], cycled[1])
        identity = losses.identity(x[0], kept[0], x[1], kept[1])
        scores = [self.critics[pair[place]](fake[place]) for place in (0, 1)]
        adversarial = torch.stack([2 * loss.generator(score) for score in scores]).sum()
        now.minimise(
            "generator", adversarial + c.cycle_weight * cycle + c.cycle_weight * c.identity_weight * identity
        )
        now.log(cycle=cycle, identity=identity)
        values = [
            loss.critic(self.critics[pair[place]](x[place]), self.critics[pair[place]](fake[place].detach()))
            for place in (0, 1)
        ]
        now.minimise("critic", values[0] + values[1])

"""Text in another style, from texts that are no pairs: CycleGAN (Zhu et al. 2017) through the Gumbel softmax.

Draws (Jang et al. 2017, arXiv:1611.01144, eq. 2 and section 2.2): one-hot forwards, softmax((log p + g) / τ) backwards,
                     g Gumbel noise: so the critic's gradient goes through tokens
Cycle (CycleGAN, arXiv:1703.10593, eq. 2): G(G(x, other), own) is x again, here by its log likelihood
Identity (sec. 5.2): G(x, own) is x
Critic:              a score of each style; texts of a style are real, what G makes of the other one's is fake
Networks:            one G for both ways, told the style (as StarGAN's, arXiv:1711.09020); a text keeps its length
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genfuse import losses
from genfuse.data.texts import decoded, encoded
from genfuse.ops import check
from genfuse.train import Adam, RunConfig, Step, System
from genfuse.train.pictures import Pictures

SHOWN = 40
"""Texts that a checkpoint carries, to show what becomes of them."""


@dataclass(frozen=True)
class TextStyleConfig:
    """Attributes:
    styles: how many.
    embedding: width of a token's vector.
    width: of the recurrent layers, each way.
    temperature: τ.
    cycle, identity: weights in the generator's loss.
    generator_optimizer, critic_optimizer: of each side.
    """

    styles: int = 2
    embedding: int = 32
    width: int = 64
    temperature: float = 1.0
    cycle: float = 1.0
    identity: float = 0.5
    generator_optimizer: Adam = field(default_factory=lambda: Adam(1e-3, (0.5, 0.999)))
    critic_optimizer: Adam = field(default_factory=lambda: Adam(1e-3, (0.5, 0.999)))

    def __post_init__(self) -> None:
        check.count("styles", self.styles, 2)
        for name in ("embedding", "width"):
            check.count(name, getattr(self, name))
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}, expected more than 0")
        for name in ("cycle", "identity"):
            check.not_negative(name, getattr(self, name))


class Reading(nn.Module):
    """Tokens as one-hot vectors (N, L, V), or what is nearly such, read both ways → (N, L, outputs)."""

    def __init__(self, config: TextStyleConfig, vocabulary: int, outputs: int, told: int) -> None:
        super().__init__()
        self.embed = nn.Linear(vocabulary, config.embedding, bias=False)
        nn.init.normal_(self.embed.weight)
        inputs = config.embedding + told
        self.recurrent = nn.LSTM(inputs, config.width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * config.width, outputs)

    def forward(self, texts: Tensor, told: Tensor | None = None) -> Tensor:
        """told (N, W): the same at every place."""
        vectors = self.embed(texts)
        if told is not None:
            vectors = torch.cat((vectors, told[:, None].expand(-1, texts.shape[1], -1)), 2)
        read: Tensor = self.head(self.recurrent(vectors)[0])
        return read


class Rewriter(nn.Module):
    """G: log chances of every token at each place (N, L, V), of texts (N, L, V) in styles (N,)."""

    examples: Tensor

    def __init__(self, config: TextStyleConfig, vocabulary: int, length: int) -> None:
        super().__init__()
        self.styles = config.styles
        self.network = Reading(config, vocabulary, vocabulary, told=config.styles)
        self.register_buffer("examples", torch.zeros(SHOWN, length, dtype=torch.int64))

    def forward(self, texts: Tensor, styles: Tensor) -> Tensor:
        """As the class says."""
        chances: Tensor = self.network(texts, F.one_hot(styles, self.styles).float())
        return chances.log_softmax(2)

    @torch.no_grad()
    def rewrite(self, tokens: Tensor, style: int) -> Tensor:
        """Texts (N, L) in a style, each place its likeliest token."""
        styles = torch.full((len(tokens),), style, device=tokens.device)
        chances: Tensor = self(F.one_hot(tokens, self.network.head.out_features).float(), styles)
        return chances.argmax(2)


class TextStyle(System[TextStyleConfig]):
    """See the module. class_names are the tokens."""

    name = "text_style"
    config_class = TextStyleConfig

    def build(self) -> None:
        vocabulary = len(self.class_names)
        if len(self.image_shape) != 1 or vocabulary < 2:
            found = f"image_shape is {self.image_shape}, of {vocabulary} tokens"
            raise ValueError(f"{found}, expected lines of text (L,), of an alphabet of two or more")
        self.generator = Rewriter(self.config, vocabulary, self.image_shape[0])
        self.critic = Reading(self.config, vocabulary, self.config.styles, told=0)

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        return {
            "critic": self.config.critic_optimizer.of(self.critic.parameters()),
            "generator": self.config.generator_optimizer.of(self.generator.parameters()),
        }

    @property
    def averaged(self) -> Rewriter:
        """The generator."""
        return self.generator

    def step(self, now: Step) -> None:
        c, loss = self.config, losses.get("non-saturating")
        tokens, own = now.batch()
        if own.max() >= c.styles:
            raise ValueError(f"styles is {c.styles}, expected {int(own.max()) + 1} or more as the texts have")
        if now.number == 0:
            self.generator.examples.copy_(tokens[torch.arange(SHOWN) % len(tokens)])
        texts, other = self._one_hot(tokens), now.others(own, c.styles)
        made = self._drawn(now, self.generator(texts, other))
        real, fake = self._score(texts, own), self._score(made.detach(), other)
        now.minimise("critic", loss.critic(real, fake))

        again, kept = self.generator(made, own), self.generator(texts, own)
        cycle, identity = (F.nll_loss(chances.flatten(0, 1), tokens.flatten()) for chances in (again, kept))
        fooled = loss.generator(self._score(made, other))
        now.minimise("generator", fooled + c.cycle * cycle + c.identity * identity)
        now.log(cycle=cycle, identity=identity, changed=(made.argmax(2) != tokens).float().mean())

    def _one_hot(self, tokens: Tensor) -> Tensor:
        return F.one_hot(tokens, len(self.class_names)).float()

    def _drawn(self, now: Step, chances: Tensor) -> Tensor:
        """One-hot draws of log chances (N, L, V), whose gradient is the softmax's."""
        gumbel = -torch.log(-torch.special.log_ndtr(now.normal(*chances.shape)))
        soft = ((chances + gumbel) / self.config.temperature).softmax(2)
        return self._one_hot(soft.argmax(2)) + soft - soft.detach()

    def _score(self, texts: Tensor, styles: Tensor) -> Tensor:
        """(N,): the critic's, of these styles, at a text's places together."""
        scores: Tensor = self.critic(texts).mean(1)
        return scores.gather(1, styles[:, None])[:, 0]

    def preview(self, averaged: nn.Module) -> tuple[str, ...]:
        """What becomes of texts that the checkpoint carries, in every style."""
        assert isinstance(averaged, Rewriter)
        return self._shown(averaged, averaged.examples)

    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        batch: int = 64,
        device: str | torch.device = "cpu",
        progress: bool = False,
        text: str | None = None,
    ) -> Pictures:
        """Texts in every style, each place its likeliest token: nothing is drawn.

        Args:
            count, seed, batch, device, progress: as :meth:`genfuse.train.System.sample`; number i is text ``seed + i``
                of those that the checkpoint carries.
            text: of the words that it was trained on, in their place.
        """
        generator = self.generator.to(check.device("device", device)).eval()
        began = time.perf_counter()
        if text is None:
            tokens = generator.examples[torch.arange(seed, seed + count) % SHOWN]
        else:
            tokens = encoded([text], self.image_shape[0], self.class_names)
        lines = self._shown(generator, tokens.to(device))
        return Pictures(tokens, time.perf_counter() - began, self.name, texts=lines)

    def _shown(self, generator: Rewriter, tokens: Tensor) -> tuple[str, ...]:
        """A text, an arrow, and it in each style."""
        columns = [tokens]
        columns += [generator.rewrite(tokens, style) for style in range(self.config.styles)]
        lines = zip(*(decoded(column.cpu(), self.class_names) for column in columns), strict=True)
        return tuple(f"{text} -> {' | '.join(styled)}" for text, *styled in lines)

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[Any, RunConfig]:
        """Texts are short and steps are cheap."""
        return cls.config_class(), RunConfig(steps=3000, batch_size=64, ema_decay=0.99)

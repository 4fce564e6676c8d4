"""GANs of text: SeqGAN (Yu et al. 2017, arXiv:1609.05473) as ScratchGAN trains it (de Masson d'Autume et al. 2019).

Tokens are drawn, so that the critic's gradient does not reach the generator (arXiv:1905.09922, section 2 and 3):

Critic (eq. 4):        D(xₜ | x₁ ... xₜ₋₁), real or fake, of every token: a reward for each, not one a sequence
Reward (eq. 5, 6):     rₜ = 2 σ(D(xₜ | ...)) − 1,   Rₜ = rₜ + γ Rₜ₊₁
Generator (eq. 8):     REINFORCE: Σ (Rₜ − b) ∇ log p(xₜ | ...), b a moving average of R
Pretraining:           none, as in ScratchGAN; or steps of maximum likelihood first, as in SeqGAN's algorithm 1
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from genfuse import losses
from genfuse.data.texts import decoded
from genfuse.ops import check, philox_normal
from genfuse.systems import ngrams
from genfuse.train import Adam, RunConfig, Step, System
from genfuse.train.pictures import Pictures


@dataclass(frozen=True)
class SeqGANConfig:
    """Attributes:
    embedding: width of a token's vector, of either side.
    width: of the recurrent layers.
    discount: γ.
    baseline_decay: of b.
    pretraining: steps in which the generator learns by maximum likelihood.
    dropout: of the critic's vectors.
    generator_optimizer, critic_optimizer: of each side.
    """

    embedding: int = 32
    width: int = 128
    discount: float = 0.23
    baseline_decay: float = 0.95
    pretraining: int = 0
    dropout: float = 0.1
    generator_optimizer: Adam = field(default_factory=lambda: Adam(1e-3, (0.5, 0.999)))
    critic_optimizer: Adam = field(default_factory=lambda: Adam(1e-3, (0.5, 0.999)))

    def __post_init__(self) -> None:
        for name in ("embedding", "width"):
            check.count(name, getattr(self, name))
        check.count("pretraining", self.pretraining, 0)
        for name in ("discount", "baseline_decay", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a share in [0, 1)")


class Writer(nn.Module):
    """p(xₜ | x₁ ... xₜ₋₁): an LSTM over the tokens before; a token beyond the alphabet begins a line."""

    def __init__(self, config: SeqGANConfig, vocabulary: int) -> None:
        super().__init__()
        self.begin = vocabulary
        self.embed = nn.Embedding(vocabulary + 1, config.embedding)
        self.recurrent = nn.LSTM(config.embedding, config.width, batch_first=True)
        self.head = nn.Linear(config.width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (N, L) → log p of every token at each place (N, L, V), given those before."""
        before = nn.functional.pad(tokens[:, :-1], (1, 0), value=self.begin)
        logits: Tensor = self.head(self.recurrent(self.embed(before))[0])
        return logits.log_softmax(2)

    @torch.no_grad()
    def write(self, normal: Tensor) -> Tensor:
        """Standard normal numbers (N, L, V) → tokens (N, L) drawn from p, one after the other.

        The largest of log p and Gumbel noise is a draw from p; −log(−log u) is such noise, u the normal's quantile.
        """
        gumbel = -torch.log(-torch.special.log_ndtr(normal))
        token = torch.full((len(normal), 1), self.begin, device=normal.device)
        state, tokens = None, []
        for noise in gumbel.unbind(1):
            out, state = self.recurrent(self.embed(token), state)
            drawn = (self.head(out[:, 0]).log_softmax(1) + noise).argmax(1, keepdim=True)
            token = torch.where(token == 0, 0, drawn)  # behind its end a line stays at its end
            tokens.append(token)
        return torch.cat(tokens, 1)


class Reader(nn.Module):
    """D(xₜ | x₁ ... xₜ₋₁) as logits: an LSTM over the tokens so far."""

    def __init__(self, config: SeqGANConfig, vocabulary: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Embedding(vocabulary, config.embedding), nn.Dropout(config.dropout))
        self.recurrent = nn.LSTM(config.embedding, config.width, batch_first=True)
        self.head = nn.Linear(config.width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (N, L) → (N, L)."""
        logits: Tensor = self.head(self.recurrent(self.embed(tokens))[0])
        return logits[..., 0]


class SeqGAN(System[SeqGANConfig]):
    """See the module. Samples are lines of text; class_names are the alphabet."""

    name = "seqgan"
    config_class = SeqGANConfig
    counts = ("pretraining",)
    baseline: Tensor
    real_bigrams: Tensor
    fake_bigrams: Tensor

    def build(self) -> None:
        vocabulary = len(self.class_names)
        if len(self.image_shape) != 1 or vocabulary < 2:
            found = f"image_shape is {self.image_shape}, of {vocabulary} tokens"
            raise ValueError(f"{found}, expected lines of text (L,), of an alphabet of two or more")
        self.generator = Writer(self.config, vocabulary)
        self.critic = Reader(self.config, vocabulary)
        self.register_buffer("baseline", torch.zeros(()))
        for name in ("real_bigrams", "fake_bigrams"):
            self.register_buffer(name, torch.zeros(vocabulary, vocabulary))

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        return {
            "critic": self.config.critic_optimizer.of(self.critic.parameters()),
            "generator": self.config.generator_optimizer.of(self.generator.parameters()),
        }

    @property
    def averaged(self) -> Writer:
        """The generator."""
        return self.generator

    def step(self, now: Step) -> None:
        loss = losses.get("non-saturating")
        real, _ = now.batch()
        fake = self.generator.write(now.normal(*real.shape, len(self.class_names)))
        counted = ngrams.live(fake)
        of_real, of_fake = self.critic(real)[ngrams.live(real) > 0], self.critic(fake)
        now.minimise("critic", loss.critic(of_real, of_fake[counted > 0]))

        with torch.no_grad():
            reward = (2 * torch.sigmoid(self.critic(fake)) - 1) * counted
        if now.number < self.config.pretraining:
            likelihood = self._chosen(real) * ngrams.live(real)
            now.minimise("generator", -likelihood.sum() / ngrams.live(real).sum())
        else:
            returns = self.returns(reward)
            advantage = (returns - self.baseline) * counted
            now.minimise("generator", -(advantage * self._chosen(fake)).sum() / counted.sum())
            self.baseline.lerp_((returns * counted).sum() / counted.sum(), 1 - self.config.baseline_decay)
        now.log(reward=reward.sum() / counted.sum(), bigram_divergence=self._divergence(real, fake))

    def returns(self, reward: Tensor) -> Tensor:
        """R of rewards r, (N, L) both: what a token and those behind it earn."""
        total, returns = torch.zeros_like(reward[:, 0]), []
        for now in reversed(reward.unbind(1)):
            total = now + self.config.discount * total
            returns.append(total)
        return torch.stack(returns[::-1], 1)

    def _chosen(self, tokens: Tensor) -> Tensor:
        """log p of the tokens (N, L) themselves."""
        chances: Tensor = self.generator(tokens)
        return chances.gather(2, tokens[..., None])[..., 0]

    def _divergence(self, real: Tensor, fake: Tensor) -> Tensor:
        """Jensen-Shannon's, in bits, of the bigrams of about the last hundred batches."""
        for kept, tokens in ((self.real_bigrams, real), (self.fake_bigrams, fake)):
            kept.mul_(0.99).add_(ngrams.bigrams(tokens, len(self.class_names)))
        return ngrams.jensen_shannon(self.real_bigrams, self.fake_bigrams)

    def preview(self, averaged: nn.Module) -> tuple[str, ...]:
        """Forty lines, of seeds 0 and on."""
        assert isinstance(averaged, Writer)
        return decoded(averaged.write(self._seeded(0, 40)), self.class_names)

    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        batch: int = 64,
        device: str | torch.device = "cpu",
        progress: bool = False,
    ) -> Pictures:
        """``count`` lines of text; line i is what the generator draws with the noise of seed ``seed + i``."""
        generator = self.generator.to(check.device("device", device)).eval()
        began = time.perf_counter()
        noise = torch.split(self._seeded(seed, count), batch)
        tokens = torch.cat([generator.write(part.to(device)).cpu() for part in noise])
        lines = decoded(tokens, self.class_names)
        return Pictures(tokens, time.perf_counter() - began, f"{self.name}, seed {seed}", texts=lines)

    def _seeded(self, seed: int, count: int) -> Tensor:
        seeds = torch.arange(seed, seed + count, dtype=torch.int64)
        return philox_normal(seeds, (count, *self.image_shape, len(self.class_names)))

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[Any, RunConfig]:
        """A large batch, as ScratchGAN needs it."""
        return cls.config_class(), RunConfig(steps=6000, batch_size=128, ema_decay=0.99)

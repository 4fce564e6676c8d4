"""Talking head (Zakharov et al. 2019, arXiv:1905.08233), in small: a face of which a few pictures are seen, driven.

Embedder (section 3.1):   e = mean over the seen frames of E(x, y), of the picture x and its landmarks y, drawn as lines
Generator:                G(y, e): landmarks to the face; e scales and shifts instance norms (AdaIN)
Critic:                   D(x, y, i) = V(x, y)ᵀ (W_i + w₀) + b, a column W_i a face
Loss (3.2):               hinge adversarial, content (pixels, and the layers of the shipped encoder in VGG's place), and
                          match |W_i − e|, which makes columns what is embedded
Step (3.2):               two faces, half of each one's batch seen, the other half made; D's update, then E's and G's

The paper's last stage, which fine-tunes to the new face (3.3), is left out: a face that was never trained on is made
from its embedding alone. So is its feature matching (of the layers of D).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from genfuse import losses
from genfuse.data.dataset import ImageDataset
from genfuse.data.faces import KNOWN, NEW, draw, face, new_faces
from genfuse.data.landmarks import read_track, sketched, speaking
from genfuse.evaluate.encoder import Encoder, encoder
from genfuse.names import check_name
from genfuse.nn import AdaINLayer, ConvNormAct
from genfuse.nn.cyclegan import descent
from genfuse.ops import check
from genfuse.systems import networks
from genfuse.train import Adam, RunConfig, Step, System
from genfuse.train.pictures import Pictures

FACES = 2
"""Of a step."""
SEEN = 4
"""Frames of a new face."""


@dataclass(frozen=True)
class TalkingHeadConfig:
    """Attributes:
    width: of all networks at full resolution, doubled at each coarser one.
    embedding: of a face.
    content_weight: of pixels and layers.
    match_weight: of |W_i − e|.
    generator_optimizer, critic_optimizer: of embedder and generator, and of the critic.
    """

    width: int = 24
    embedding: int = 64
    content_weight: float = 10.0
    match_weight: float = 1.0
    generator_optimizer: Adam = field(default_factory=Adam)
    critic_optimizer: Adam = field(default_factory=Adam)

    def __post_init__(self) -> None:
        check.count("width", self.width)
        check.count("embedding", self.embedding)
        check.not_negative("content_weight", self.content_weight)
        check.not_negative("match_weight", self.match_weight)


class Driven(nn.Module):
    """Embedder and generator.

    Args:
        size: S of pictures (3, S, S), 8, 16, 32, ... ValueError for another.
        width, embedding: as of :class:`TalkingHeadConfig`.
    """

    def __init__(self, size: int, width: int, embedding: int) -> None:
        super().__init__()
        self.embedder = networks.critic("cnn", (6, size, size), width, norm="none", outputs=embedding)
        self.lines = nn.Sequential(*descent(3, width))
        self.layers = nn.ModuleList(
            [
                AdaINLayer(4 * width, 4 * width, embedding),
                AdaINLayer(4 * width, 2 * width, embedding, up=2),
                AdaINLayer(2 * width, width, embedding, up=2),
            ]
        )
        self.picture = ConvNormAct(width, 3, 3, norm="none", activation="none", out_activation="tanh")

    def embed(self, seen: Tensor) -> Tensor:
        """Frames (N, 6, S, S) of one face, landmarks and picture → its embedding (1, embedding)."""
        embedded: Tensor = self.embedder(seen)
        return embedded.mean(0, keepdim=True)

    def forward(self, sketches: Tensor, embedding: Tensor) -> Tensor:
        """Landmarks (N, 3, S, S) and embeddings (N, embedding) → pictures (N, 3, S, S) in [-1, 1]."""
        h, seeds = self.lines(sketches), torch.zeros(len(sketches), dtype=torch.int64, device=sketches.device)
        for layer in self.layers:
            h = layer(h, embedding, seeds)
        made: Tensor = self.picture(h)
        return made


class TalkingHead(System[TalkingHeadConfig]):
    """See the module; samples are pairs: landmarks, and behind them on the channels the face, which is the class."""

    name = "talking_head"
    config_class = TalkingHeadConfig
    views = 2

    def build(self) -> None:
        c, (channels, size, _) = self.config, self.image_shape
        if channels != 6:
            raise ValueError(
                f"samples have {channels} channels, expected 6: landmarks and pictures, as of faces"
            )
        self.driven = Driven(size, c.width, c.embedding)
        self.critic = networks.critic("cnn", self.image_shape, c.width, outputs=c.embedding)
        self.columns_of_faces = nn.Parameter(0.01 * torch.randn(len(self.class_names), c.embedding))
        self.common = nn.Linear(c.embedding, 1)

    @cached_property
    def seen(self) -> Encoder:
        """What judges content; no weight of it is trained."""
        return encoder().to(self.columns_of_faces.device)

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        critical = [*self.critic.parameters(), self.columns_of_faces, *self.common.parameters()]
        return {
            "critic": self.config.critic_optimizer.of(critical),
            "generator": self.config.generator_optimizer.of(self.driven.parameters()),
        }

    @property
    def averaged(self) -> nn.Module:
        """Embedder and generator."""
        return self.driven

    def scores(self, sketches: Tensor, pictures: Tensor, columns: Tensor) -> Tensor:
        """D (N,) of pictures with their landmarks, each by its face's column (N, embedding)."""
        seen = self.critic(torch.cat((sketches, pictures), 1))
        scores: Tensor = (seen * columns).sum(1) + self.common(seen)[:, 0]
        return scores

    def step(self, now: Step) -> None:
        c, loss = self.config, losses.get("hinge")
        chosen = [int(now.integers(len(self.class_names))) for _ in range(FACES)]
        halves = [now.batch(number)[0].chunk(2) for number in chosen]
        if any(len(half) != 2 for half in halves):
            raise ValueError(
                "a process's share of the batch is one picture, expected 2 or more: one is seen, one made"
            )
        embedded = torch.cat([self.driven.embed(seen).expand(len(wanted), -1) for seen, wanted in halves])
        y, x = torch.cat([wanted for _, wanted in halves]).chunk(2, 1)
        numbers = torch.cat(
            [torch.full((len(wanted),), number) for number, (_, wanted) in zip(chosen, halves, strict=True)]
        )
        columns = self.columns_of_faces[numbers.to(x.device)]
        fake = self.driven(y, embedded)
        now.minimise(
            "critic", loss.critic(self.scores(y, x, columns), self.scores(y, fake.detach(), columns))
        )
        with torch.no_grad():
            layers = self.seen.maps(x)
        content = losses.l1(fake, x) + losses.feature_matching_l1(layers, self.seen.maps(fake))
        columns = self.columns_of_faces.detach()[numbers.to(x.device)]
        match = losses.l1(embedded, columns)
        adversarial = loss.generator(self.scores(y, fake, columns))
        now.minimise("generator", adversarial + c.content_weight * content + c.match_weight * match)
        now.log(content=content, match=match)

    def preview(self, averaged: nn.Module) -> Tensor:
        """Of each of four new faces a row: one seen frame, and eight of the speaking track."""
        self.columns, track = 9, speaking(8)
        made = [self._frames(averaged.eval(), KNOWN + who, track) for who in range(4)]
        seen = [self._seen_of(KNOWN + who)[:1, 3:].cpu() for who in range(4)]
        return torch.cat([row for pair in zip(seen, made, strict=True) for row in pair])

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        batch: int = 64,
        device: str | torch.device = "cpu",
        progress: bool = False,
        label: str | None = None,
        input: str | Path | None = None,
    ) -> Pictures:
        """``count`` frames of a new face, of which four others are seen, along a track from frame ``seed`` on, around.

        ``shown`` has three rows: the landmarks, the frames, and what the face that was drawn from parts looks like.

        Args:
            count, seed, batch, device, progress: as :meth:`genfuse.train.System.sample`.
            label: "face 108" to "face 119", none of them trained on; the first where left out.
            input: a track's file, see :func:`genfuse.data.landmarks.read_track`; a head that speaks where left out.
        """
        names = tuple(f"face {KNOWN + who}" for who in range(NEW))
        who = KNOWN + (0 if label is None else names.index(check_name("label", label, names)))
        track = speaking(24) if input is None else read_track(Path(input))
        points = track[torch.arange(seed, seed + count) % len(track)]
        averaged = self.averaged.to(check.device("device", device)).eval()
        began = time.perf_counter()
        made = self._frames(averaged, who, points, batch)
        seconds, size = time.perf_counter() - began, self.image_shape[1]
        shown = torch.cat((sketched(points, size), made, draw(face(who), points, size)))
        return Pictures(made, seconds, f"{self.name}, face {who}", count, shown=shown)

    @torch.no_grad()
    def _frames(self, averaged: nn.Module, who: int, points: Tensor, batch: int = 64) -> Tensor:
        """(N, 3, S, S) on the CPU, of landmarks (N, 24, 2)."""
        assert isinstance(averaged, Driven)
        place = next(averaged.parameters()).device
        embedding = averaged.embed(self._seen_of(who).to(place))
        parts = [sketched(part, self.image_shape[1]).to(place) for part in torch.split(points, batch)]
        return torch.cat([averaged(part, embedding.expand(len(part), -1)).cpu() for part in parts])

    @cached_property
    def _new(self) -> ImageDataset:
        return new_faces(self.image_shape[1])

    def _seen_of(self, who: int) -> Tensor:
        """The frames that are seen of a new face, landmarks and picture: (SEEN, 6, S, S)."""
        return self._new.images[self._new.labels == who - KNOWN][:SEEN]

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[TalkingHeadConfig, RunConfig]:
        """Rates that fall in the second half."""
        return cls.config_class(), RunConfig(steps=2000, batch_size=16, cooldown_steps=1000)

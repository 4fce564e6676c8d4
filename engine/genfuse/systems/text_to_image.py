"""Text to image (Reed et al. 2016, arXiv:1605.05396): pictures of sentences, by a critic that reads.

Text (section 4.1):    φ(t), a sentence encoder's; both sides see a projection of it through a layer of their own
Critic (algorithm 1):  D(x, t) of a picture and its sentence is real; of a fake one, and of a real picture with
                       another's sentence (GAN-CLS, section 4.2), is fake, half of what is fake each
Generator (eq. 5):     D(G(z, t), t), and D(G(z, t̄), t̄) of what lies between two sentences, t̄ = ½ t₁ + ½ t₂ (GAN-INT,
                       section 4.3): there are no real pictures of these, but the critic has learned to read

A class's name is its sentence: the data of most use have a class a picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from genfuse import losses
from genfuse.data import sentences
from genfuse.nn import MLP, Linear
from genfuse.ops import check
from genfuse.systems import networks
from genfuse.systems.adversarial import Adversarial, AdversarialConfig
from genfuse.train import RunConfig, Step
from genfuse.train.pictures import Pictures


@dataclass(frozen=True)
class TextToImageConfig(AdversarialConfig):
    """As :class:`AdversarialConfig`, and

    Attributes:
        projection: width of the layer that reads φ(t), of each side.
        interpolation: weight of the sentences between others in the generator's loss; 0 leaves them out.
        loss: "minimax", "non-saturating", "hinge" or "least-squares".
    """

    projection: int = 128
    interpolation: float = 1.0
    loss: Literal["minimax", "non-saturating", "hinge", "least-squares"] = "non-saturating"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.count("projection", self.projection)
        check.not_negative("interpolation", self.interpolation)


class ToldGenerator(nn.Module):
    """G(z, t): ``listen`` makes what t is into (N, projection)."""

    def __init__(self, config: TextToImageConfig, shape: tuple[int, ...], listen: nn.Module) -> None:
        super().__init__()
        self.listen = listen
        inputs = config.latents + config.projection
        self.network = networks.generator(config.network, inputs, shape, config.width)

    def forward(self, latents: Tensor, told: Tensor) -> Tensor:
        """latents (N, L), t (N, ...) → samples."""
        heard = nn.functional.leaky_relu(self.listen(told), 0.2)
        samples: Tensor = self.network(torch.cat((latents, heard), 1))
        return samples


class ToldCritic(nn.Module):
    """D(x, t): what it sees and what it is told, behind the last convolution, are judged by a perceptron."""

    def __init__(self, config: TextToImageConfig, shape: tuple[int, ...], listen: nn.Module) -> None:
        super().__init__()
        features = 4 * config.width
        self.look = networks.critic(config.network, shape, config.width, outputs=features)
        self.listen = listen
        self.judge = MLP((features + config.projection, features, 1))

    def forward(self, images: Tensor, told: Tensor) -> Tensor:
        """images (N, C, H, W), t (N, ...) → scores (N,)."""
        both = torch.cat((self.look(images), self.listen(told)), 1)
        scores: Tensor = self.judge(nn.functional.leaky_relu(both, 0.2))
        return scores[:, 0]


class Reader(nn.Module):
    """A layer that reads φ(t), whose vectors of unit length it takes as wide as latents are."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.project = Linear(sentences.WIDTH, outputs)

    def forward(self, texts: Tensor) -> Tensor:
        """(N, 384) → (N, outputs)."""
        read: Tensor = self.project(math.sqrt(sentences.WIDTH) * texts)
        return read


class TextToImage(Adversarial[TextToImageConfig]):
    """See the module."""

    name = "text_to_image"
    config_class = TextToImageConfig

    def build(self) -> None:
        if len(self.image_shape) != 3 or len(self.class_names) < 2:
            found = f"image_shape is {self.image_shape} and there are {len(self.class_names)} class_names"
            raise ValueError(f"{found}, expected pictures (C, H, W) with two names or more")
        self.generator = ToldGenerator(self.config, self.image_shape, self.listener())
        self.critic = ToldCritic(self.config, self.image_shape, self.listener())

    def listener(self) -> nn.Module:
        """What reads t, of either side: t (N, ...) → (N, projection)."""
        return Reader(self.config.projection)

    def told(self, now: Step, labels: Tensor) -> Tensor:
        """t of classes (N,), in training."""
        return self.names[labels]

    def described(self, text: str) -> Tensor:
        """t of any text, (1, ...)."""
        return sentences.embedded([text])

    @cached_property
    def names(self) -> Tensor:
        """t of each class's name, (classes, ...)."""
        return sentences.embedded(self.class_names, keep=True)

    def step(self, now: Step) -> None:
        c, loss, classes = self.config, losses.get(self.config.loss), len(self.class_names)
        for _ in range(c.critic_steps):
            real, labels = now.batch()
            texts = self.told(now, labels)
            others = self.told(now, now.others(labels, classes))
            with torch.no_grad():
                fake = self.generator(self.latents(now, len(real)), texts)
            matched, mismatched = self.critic(real, texts), self.critic(real, others)
            now.minimise("critic", loss.critic(matched, torch.cat((self.critic(fake, texts), mismatched))))
            now.log(reads=(matched > mismatched).float().mean())
        latents = self.latents(now, len(real))
        fooled = loss.generator(self.critic(self.generator(latents, texts), texts))
        if c.interpolation:
            between = (texts + others) / 2
            of_between = loss.generator(self.critic(self.generator(latents, between), between))
            fooled = fooled + c.interpolation * of_between
        now.minimise("generator", fooled)

    def made(self, averaged: nn.Module, latents: Tensor, labels: Tensor) -> Tensor:
        """The pictures of latents; what stands for labels here is t, (N, ...)."""
        pictures: Tensor = averaged(latents, labels)
        return pictures

    def _labels(self, count: int, label: str | None) -> Tensor:
        if label is not None:
            text = self.described(label)
            return text.expand(count, *text.shape[1:])
        return self.names[torch.arange(count) % len(self.class_names)]

    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        batch: int = 64,
        device: str | torch.device = "cpu",
        progress: bool = False,
        label: str | None = None,
        interpolate: bool = False,
        arithmetic: bool = False,
        text: str | None = None,
    ) -> Pictures:
        """As :meth:`Latent.sample`, and

        Args:
            label: one of the names, which all pictures are of; the names in turn where left out.
            text: any sentence, in place of a label.
        """
        if label is not None and text is not None:
            raise ValueError("label and text are both given, expected one of them")
        if label is not None:
            text = self.class_names[self.label(label)]
        walks = {"interpolate": interpolate, "arithmetic": arithmetic}
        return super().sample(
            count, seed=seed, batch=batch, device=device, progress=progress, label=text, **walks
        )

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[TextToImageConfig, RunConfig]:
        """What suits some thousand emoji of 32 pixels."""
        return TextToImageConfig(width=48), RunConfig(steps=6000)

"""Conditional GAN (Mirza and Osindero 2014, arXiv:1411.1784): both sides are told the label y.

Generator:    G(z, y), the label's embedding beside the latents
Critic:       "concatenation": D(x, y), the embedding as one more channel of the picture (section 3.2)
              "projection":    D(x, y) = ψ(φ(x)) + ⟨embedding of y, φ(x)⟩ (Miyato and Koyama 2018, arXiv:1802.05637)
Pairs:        real pictures with their labels are real; fakes with theirs are fake, and so are real pictures with
              other labels: half of what is fake (Reed et al. 2016, arXiv:1605.05396, algorithm 1)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from genfuse import losses
from genfuse.nn import Linear
from genfuse.ops import check
from genfuse.systems import networks
from genfuse.systems.adversarial import Adversarial
from genfuse.systems.gan import GANConfig
from genfuse.systems.networks import Network
from genfuse.train import Step


@dataclass(frozen=True)
class CGANConfig(GANConfig):
    """As :class:`GANConfig`, and

    Attributes:
        embedding: width of a label's vector beside the latents.
        critic: "concatenation" or "projection".
        mismatched: whether real pictures with other labels are shown as fake.
    """

    network: Network = "cnn"
    width: int = 64
    embedding: int = 32
    critic: Literal["concatenation", "projection"] = "projection"
    mismatched: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check.count("embedding", self.embedding)


class ConditionalGenerator(nn.Module):
    """G(z, y)."""

    def __init__(self, config: CGANConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, config.embedding)
        inputs = config.latents + config.embedding
        self.network = networks.generator(config.network, inputs, shape, config.width)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """latents (N, L), labels (N,) → samples."""
        samples: Tensor = self.network(torch.cat((latents, self.embed(labels)), 1))
        return samples


class ConcatenationCritic(nn.Module):
    """D of the picture and, as one more channel, an embedding of the label."""

    def __init__(self, config: CGANConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        channels, *sides = shape
        self.embed = nn.Embedding(classes, shape[-1] * shape[-2])
        self.network = networks.critic(config.network, (channels + 1, *sides), config.width)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """images (N, C, H, W), labels (N,) → scores (N,)."""
        channel = self.embed(labels).reshape(len(images), 1, *images.shape[2:])
        scores: Tensor = self.network(torch.cat((images, channel), 1))
        return scores


class ProjectionCritic(nn.Module):
    """ψ(φ(x)) + ⟨embedding of y, φ(x)⟩, φ the network and ψ linear."""

    def __init__(self, config: CGANConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        features = 2 * config.width
        self.network = networks.critic(config.network, shape, config.width, outputs=features)
        self.head = Linear(features, 1)
        self.embed = nn.Embedding(classes, features)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """images (N, C, H, W), labels (N,) → scores (N,)."""
        features = torch.nn.functional.leaky_relu(self.network(images), 0.2)
        scores: Tensor = self.head(features)[:, 0] + (self.embed(labels) * features).sum(1)
        return scores


class CGAN(Adversarial[CGANConfig]):
    """See the module."""

    name = "cgan"
    config_class = CGANConfig

    def build(self) -> None:
        if len(self.image_shape) != 3:
            raise ValueError(f"image_shape is {self.image_shape}, expected pictures (C, H, W) with classes")
        shaped = self.config, self.image_shape, len(self.class_names)
        self.generator = ConditionalGenerator(*shaped)
        by = ProjectionCritic if self.config.critic == "projection" else ConcatenationCritic
        self.critic = by(*shaped)

    def made(self, averaged: nn.Module, latents: Tensor, labels: Tensor) -> Tensor:
        """The pictures of latents with these labels."""
        pictures: Tensor = averaged(latents, labels)
        return pictures

    def step(self, now: Step) -> None:
        loss, classes = losses.get(self.config.loss), len(self.class_names)
        for _ in range(self.config.critic_steps):
            real, labels = now.batch()
            with torch.no_grad():
                fake = self.generator(self.latents(now, len(real)), labels)
            of_fake = self.critic(fake, labels)
            if self.config.mismatched and classes > 1:
                others = now.others(labels, classes)
                of_fake = torch.cat((of_fake, self.critic(real, others)))
            now.minimise("critic", loss.critic(self.critic(real, labels), of_fake))
        now.minimise("generator", self.generator_loss(now, labels))

    def generator_loss(self, now: Step, labels: Tensor) -> Tensor:
        """(): of new pictures with these labels (N,)."""
        fake = self.generator(self.latents(now, len(labels)), labels)
        return losses.get(self.config.loss).generator(self.critic(fake, labels))

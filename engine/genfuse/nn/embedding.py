"""What a diffusion network is told beside the picture: the timestep and the class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genfuse.nn.activation import Activation
from genfuse.nn.linear import Linear
from genfuse.ops import check
from genfuse.ops.timestep_embedding import timestep_embedding


class ConditionEmbedding(nn.Module):
    """(timestep, class) → one vector a sample.

    Label ``num_classes`` is the null label: what the network sees when the class is dropped in training or
    left out in sampling, the unconditional half of classifier-free guidance (Ho & Salimans 2022).

    Args:
        num_classes: 0 makes an unconditional network.
        channels: width of the sinusoids, 2 or more.
        embedding_channels: width of the result.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(self, num_classes: int, channels: int, embedding_channels: int) -> None:
        super().__init__()
        check.count("num_classes", num_classes, 0)
        check.count("channels", channels, 2)
        check.count("embedding_channels", embedding_channels)
        self.num_classes = num_classes
        self.channels = channels
        self.time = nn.Sequential(
            Linear(channels, embedding_channels),
            Activation("silu"),
            Linear(embedding_channels, embedding_channels),
        )
        self.label = nn.Embedding(num_classes + 1, embedding_channels) if num_classes else None

    def forward(self, t: Tensor, label: Tensor | None = None) -> Tensor:
        """The embedding, (N, embedding_channels).

        Args:
            t: (N,) floating, timesteps in [0, 1000).
            label: (N,) int64 in [0, num_classes]; None means the null label for all.

        Raises:
            ValueError: a label was given to an unconditional network.
        """
        embedding: Tensor = self.time(timestep_embedding(t, self.channels))
        if self.label is None:
            if label is not None:
                raise ValueError("label was given, but this network has no classes: leave label out")
            return embedding
        if label is None:
            label = torch.full(t.shape, self.num_classes, dtype=torch.int64, device=t.device)
        of_class: Tensor = self.label(label)
        return embedding + of_class

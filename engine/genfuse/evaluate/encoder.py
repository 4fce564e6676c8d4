"""A small classifier of scikit-learn's digits and OpenMoji, whose last layer but one serves as features."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from genfuse.errors import CheckpointError

FEATURES = 96
SIZE = 32
WEIGHTS = Path(__file__).parent / "digits-openmoji.safetensors"
"""The shipped weights, float16; `digits-openmoji.md` beside it says how they came about and how good they are."""


class Encoder(nn.Module):
    """(N, 1 or 3, H, W) in [-1, 1], any floating dtype → features (N, 96) float32, of any size of picture.

    Four 3x3 convolutions, three of them of stride 2, with group norm and ReLU, averaged over the picture.
    ``logits`` goes on from features to (N, classes): ten digits, then OpenMoji's classes; ``classify`` from pictures;
    ``maps`` gives what each convolution's ReLU writes, [(N, 32, 16, 16), (N, 64, 8, 8), ...].

    Args:
        classes: of `classify`.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, FEATURES)
        self.convs = nn.ModuleList(
            nn.Conv2d(below, above, 3, stride, padding=1)
            for (below, above), stride in zip(pairwise(widths), (2, 2, 2, 1), strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width in widths[1:])
        self.head = nn.Linear(FEATURES, classes)

    def maps(self, images: Tensor) -> list[Tensor]:
        h, seen = prepared(images), []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = torch.relu(norm(conv(h)))
            seen.append(h)
        return seen

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)[-1].mean((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(features)
        return logits

    def classify(self, images: Tensor) -> Tensor:
        return self.logits(self(images))


def prepared(images: Tensor) -> Tensor:
    """Three channels of float32, 32 x 32 pixels: grey is repeated, sizes by antialiased bilinear interpolation."""
    if not isinstance(images, Tensor) or not images.is_floating_point():
        got = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images is {got}, expected a floating tensor (N, 1 or 3, H, W) in [-1, 1]")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
        raise ValueError(f"images has shape {tuple(images.shape)}, expected (N, 1 or 3, H, W)")
    x = images.float()
    if x.shape[2:] != (SIZE, SIZE) and len(x):
        x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True)
    return x.expand(-1, 3, SIZE, SIZE)


def encoder(path: Path = WEIGHTS) -> Encoder:
    """The trained encoder, for evaluation: no weight asks for a gradient, pictures may.

    Raises:
        CheckpointError: ``path`` is no file of such weights.
    """
    try:
        tensors = load_file(path)
        network = Encoder(tensors["head.weight"].shape[0])
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} holds no weights of the encoder ({error}): copy it anew") from error
    return network.eval().requires_grad_(False)

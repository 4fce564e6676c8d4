"""The multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from genfuse.nn.linear import Linear
from genfuse.ops import check


class MLP(nn.Sequential):
    """(N, features[0]) → (N, features[-1]): linear layers, LeakyReLU between them.

    Weights start as He et al. 2015 (arXiv:1502.01852) have them, so that a signal is as large behind many layers as in
    front of them: PyTorch's own start makes it half as large in each.

    Args:
        features: width of the input, of each hidden layer, and of the output.
        negative_slope: of LeakyReLU; 0 makes it ReLU.
        dropout: chance that a hidden value is left out in training.

    ValueError or TypeError, naming the argument, for fewer than two sizes, or one that is no whole number or too small.
    """

    def __init__(self, features: tuple[int, ...], negative_slope: float = 0.2, dropout: float = 0.0) -> None:
        check.counts("features", features)
        check.finite("negative_slope", negative_slope)
        if len(features) < 2:
            raise ValueError(f"features is {features}, expected two sizes or more")
        layers: list[nn.Module] = []
        for below, above in pairwise(features):
            layers += [Linear(below, above), nn.LeakyReLU(negative_slope)]
            if dropout:
                layers.append(nn.Dropout(dropout))
        super().__init__(*layers[: -2 if dropout else -1])
        for layer in self:
            if isinstance(layer, Linear):
                nn.init.kaiming_normal_(layer.weight, negative_slope)
                nn.init.zeros_(layer.bias)

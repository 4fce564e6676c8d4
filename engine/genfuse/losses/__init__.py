"""The losses of adversarial training, in plain PyTorch: what a critic and a generator minimise, and what is added.

`get("hinge")` gives a pair by name; all else are functions. Every loss is a scalar, float32 or, of float64, float64:
half precision is widened before anything is squared or added up. All can be differentiated any number of times.
"""

from genfuse.losses.adversarial import (
    AdversarialLoss,
    EnergyBased,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Wasserstein,
)
from genfuse.losses.diversity import mode_seeking, repelling
from genfuse.losses.features import feature_matching, feature_matching_l1
from genfuse.losses.reconstruction import cycle, identity, l1
from genfuse.losses.registry import get, names

__all__ = [
    "AdversarialLoss",
    "EnergyBased",
    "Hinge",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "Wasserstein",
    "cycle",
    "feature_matching",
    "feature_matching_l1",
    "get",
    "identity",
    "l1",
    "mode_seeking",
    "names",
    "repelling",
]

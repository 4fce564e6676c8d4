"""All that is measured of a generator's pictures, in one pass over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from genfuse.data.dataset import ImageDataset
from genfuse.evaluate.birthday import alike_within, birthday
from genfuse.evaluate.encoder import encoder
from genfuse.evaluate.features import features_of
from genfuse.evaluate.fid_infinity import fid_infinity
from genfuse.evaluate.frechet import frechet_distance
from genfuse.evaluate.memorisation import Copies, TrainingSet
from genfuse.evaluate.mifid import mifid
from genfuse.evaluate.modes import Counts
from genfuse.evaluate.moments import Moments
from genfuse.evaluate.neighbours import nearest
from genfuse.evaluate.perceptual import PerceptualDistance, diversity
from genfuse.evaluate.precision_recall import Manifolds, manifolds
from genfuse.evaluate.pretrained import Inception
from genfuse.evaluate.reservoir import Reservoir
from genfuse.evaluate.standard import clip_score, inception_score, kernel_distance, torchmetrics
from genfuse.names import check_name

NEIGHBOURS = 5


@dataclass(frozen=True)
class Score:
    """A number and what it is held against.

    Attributes:
        value: the number.
        deviation: of subsets (kid, is) or of the mean (diversity), where there is one.
        reference: what the real pictures themselves have, or new ones are expected to have.
        better: "lower", "higher", or "near" the reference.
    """

    value: float
    deviation: float | None = None
    reference: float | None = None
    better: str = "higher"


class Evaluation:
    """Statistics of real pictures, and those of a generator's as they come; memory does not grow with the latter.

    FID and the counts are of all pictures; what needs samples has up to ``capacity`` of each kind, drawn evenly.

    Args:
        data: the real pictures, those that the generator was trained on.
        network: (n, 3, H, W) in [-1, 1] to features (n, D), with ``logits`` from these for "is"; None: the project's.
        metrics: names out of `METRICS`; None: all but "clip".
        capacity: samples kept.
        seed: of every draw.
        clip: a model and processor for "clip", as `genfuse.evaluate.clip()` gives.

    Raises:
        ValueError: a metric that there is not, or "clip" without ``clip``; too few pictures.
        ModuleNotFoundError, UnsupportedError: a metric's package is missing or does not load.
    """

    def __init__(
        self,
        data: ImageDataset,
        network: nn.Module | None = None,
        metrics: Iterable[str] | None = None,
        *,
        capacity: int = 10_000,
        seed: int = 0,
        clip: tuple[Any, Any] | None = None,
    ) -> None:
        names = [name for name in METRICS if name != "clip"] if metrics is None else list(metrics)
        self.metrics = [check_name("metrics", name, METRICS) for name in dict.fromkeys(names)]
        if len(data) <= NEIGHBOURS:
            raise ValueError(
                f"data has {len(data)} pictures, expected more than {NEIGHBOURS} to compare with"
            )
        self._check(clip)
        self.network, self.seed, self.clip = network or encoder(), seed, clip
        self.class_names = data.class_names
        self.real, self.samples = Reservoir(capacity, seed), Reservoir(capacity, seed)
        images = _coloured(data.images)
        features = features_of(self.network, images)
        self._real_moments, self.moments = Moments.of(features), Moments(features.shape[1])
        self.real.update(0, features=features, images=images, labels=data.labels)
        self.classes, self.neighbours = Counts(len(data.class_names)), Counts(len(self.real))
        self.training = TrainingSet(images) if "memorisation" in self.metrics else None
        self.copies = Copies()

    def _check(self, clip: tuple[Any, Any] | None) -> None:
        """What a metric needs is asked for before anything is sampled."""
        for name, module in {
            "is": "image.inception",
            "kid": "image.kid",
            "clip": "multimodal.clip_score",
        }.items():
            if name in self.metrics:
                torchmetrics(module)
        if "clip" in self.metrics and clip is None:
            raise ValueError("metrics has 'clip', but there is no clip: expected a model and its processor")

    def update(self, first: int, images: Tensor, labels: Tensor | None = None) -> None:
        """Take in pictures ``first``, ``first + 1``, ...

        Args:
            first: index of the first among all pictures, in whichever process.
            images: (n, 1 or 3, H, W), floating, in [-1, 1]; of the data's size for "memorisation".
            labels: (n,) int64, the classes that were asked for, where there are; "clip" takes their names for texts.

        Raises:
            ValueError, TypeError: pictures that the network does not take, or of which it makes no finite features.
        """
        images = _coloured(images)
        features = features_of(self.network, images)
        columns = {"features": features}
        if {"diversity", "clip"} & set(self.metrics):
            columns["images"] = images
        if "clip" in self.metrics:
            if labels is None:
                raise ValueError(
                    "metrics has 'clip', which needs the pictures' classes, but there are no labels"
                )
            columns["labels"] = labels
        self.moments.update(features)
        self.samples.update(first, **columns)
        if "modes" in self.metrics:
            _, which = nearest(features, self.real["features"])
            self.neighbours.update(which[:, 0])
            self.classes.update(self.real["labels"][which[:, 0]])
        if self.training is not None:
            self.copies.update(images, self.training)

    def over_processes(self) -> None:
        """Put together what all processes of ``torch.distributed`` have seen; each has all of it then."""
        self.moments, self.samples = self.moments.over_processes(), self.samples.over_processes()
        self.classes, self.neighbours = self.classes.over_processes(), self.neighbours.over_processes()
        self.copies = self.copies.over_processes()

    def scores(self) -> dict[str, Score]:
        """The numbers of all metrics, by name. ValueError where there are too few pictures for one."""
        if self.moments.count <= NEIGHBOURS:
            raise ValueError(
                f"there are {self.moments.count} pictures, expected more than {NEIGHBOURS} to compare"
            )
        found: dict[str, Score] = {}
        for name in self.metrics:
            found.update(METRICS[name](self))
        return found

    @cached_property
    def manifolds(self) -> Manifolds:
        return manifolds(self.samples["features"], self.real["features"], NEIGHBOURS)

    def pairs(self) -> Tensor | None:
        """(2K, 3, H, W): pictures nearest to a training picture, each with that one; None without "memorisation"."""
        return None if self.training is None else self.copies.pairs(self.training)


def _coloured(images: Tensor) -> Tensor:
    """Grey as three channels; what is no picture is left to the network's own checks."""
    return images.expand(-1, 3, -1, -1) if images.ndim == 4 and images.shape[1] == 1 else images


def _fid(of: Evaluation) -> dict[str, Score]:
    return {"fid": Score(frechet_distance(of.moments, of._real_moments).item(), better="lower")}


def _fid_infinity(of: Evaluation) -> dict[str, Score]:
    value = fid_infinity(of.samples["features"], of._real_moments, seed=of.seed).item()
    return {"fid_infinity": Score(value, better="lower")}


def _kid(of: Evaluation) -> dict[str, Score]:
    found = kernel_distance(of.samples["features"], of.real["features"], seed=of.seed)
    return {"kid": Score(*found, better="lower")}


def _is(of: Evaluation) -> dict[str, Score]:
    with torch.no_grad():
        logits: Any = of.network.logits
        of_samples, of_real = logits(of.samples["features"]), logits(of.real["features"])
    splits = min(10, len(of_samples), len(of_real))
    reference, _ = inception_score(of_real, splits=splits, seed=of.seed)
    return {"is": Score(*inception_score(of_samples, splits=splits, seed=of.seed), reference)}


def _mifid(of: Evaluation) -> dict[str, Score]:
    threshold = 0.1 if isinstance(of.network, Inception) else None
    value = mifid(of.samples["features"], of.real["features"], threshold=threshold).item()
    return {"mifid": Score(value, better="lower")}


def _manifold(name: str) -> Callable[[Evaluation], dict[str, Score]]:
    return lambda of: {name: Score(getattr(of.manifolds, name), reference=1.0)}


def _diversity(of: Evaluation) -> dict[str, Score]:
    distance = PerceptualDistance(of.network if hasattr(of.network, "maps") else encoder())  # type: ignore[arg-type]
    reference, _ = diversity(distance, of.real["images"], seed=of.seed)
    return {"diversity": Score(*diversity(distance, of.samples["images"], seed=of.seed), reference, "near")}


def _modes(of: Evaluation) -> dict[str, Score]:
    real = Counts(len(of.class_names))
    real.update(of.real["labels"])
    return {
        "classes_hit": Score(of.classes.hit, reference=real.hit),
        "classes_effective": Score(of.classes.effective, reference=real.effective, better="near"),
        "class_shares_off": Score(of.classes.total_variation(real), reference=0.0, better="lower"),
        "neighbours_hit": Score(of.neighbours.hit / len(of.real)),
        "neighbours_effective": Score(of.neighbours.effective, reference=float(len(of.real))),
        "neighbour_largest_share": Score(of.neighbours.largest_share, better="lower"),
    }


def _birthday(of: Evaluation) -> dict[str, Score]:
    limit = alike_within(of.real["features"])
    samples, real = (birthday(x["features"], limit) for x in (of.samples, of.real))
    return {
        "birthday_batch": Score(samples.batch, reference=real.batch),
        "support": Score(samples.support, reference=real.support),
    }


def _memorisation(of: Evaluation) -> dict[str, Score]:
    assert of.training is not None
    return {
        "copies": Score(of.copies.share, reference=of.training.share, better="lower"),
        "nearer_than_new": Score(of.copies.nearer, reference=0.5, better="near"),
    }


def _clip(of: Evaluation) -> dict[str, Score]:
    assert of.clip is not None
    texts = [of.class_names[label] for label in of.samples["labels"].tolist()]
    return {"clip": Score(clip_score(of.samples["images"], texts, of.clip))}


METRICS: Mapping[str, Callable[[Evaluation], dict[str, Score]]] = MappingProxyType(
    {
        "fid": _fid,
        "fid_infinity": _fid_infinity,
        "kid": _kid,
        "is": _is,
        "mifid": _mifid,
        **{name: _manifold(name) for name in ("precision", "recall", "density", "coverage")},
        "diversity": _diversity,
        "modes": _modes,
        "birthday": _birthday,
        "memorisation": _memorisation,
        "clip": _clip,
    }
)
"""What there is to measure, in the order of the report."""

"""What every system is: networks, how they are optimised, one training step, and what is shown of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from operator import index
from typing import Any, ClassVar, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from genfuse.data.dataset import Data
from genfuse.errors import CheckpointError
from genfuse.names import check_name
from genfuse.train import checkpoint, settings
from genfuse.train.checkpoint import Checkpoint
from genfuse.train.config import RunConfig
from genfuse.train.pictures import Pictures
from genfuse.train.step import Step

LARGEST_SAMPLE = 2**26
"""Values of a sample: beyond any that such networks are trained on, and still no burden to allocate."""

ConfigT = TypeVar("ConfigT")
_System = TypeVar("_System", bound="System[Any]")


class System(nn.Module, Generic[ConfigT]):
    """The networks are the module's children: its state dict is what a checkpoint holds, and all state lies there.

    A system has ``build``, ``optimizers``, ``step``, ``averaged`` and ``preview``, and class attributes: ``name``, its
    own in the registry; ``config_class``, a dataclass of which every setting has a default; ``views``, how many
    pictures of one thing its samples have: 2 where it learns from pairs; ``counts``, settings that are numbers of
    steps: they may be larger than any network.

    Args:
        config: settings.
        image_shape: (C, H, W) of the pictures, (2,) for points of the plane, (L,) for lines of text.
        class_names: one a class; of text, its tokens.
        seed: of the initial weights.

    ValueError or TypeError for samples that the networks cannot take.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[Any]]
    views: ClassVar[int] = 1
    counts: ClassVar[tuple[str, ...]] = ()
    columns: int | None = None
    """Pictures a row of a preview; None: as many as make it square."""

    def __init__(
        self, config: ConfigT, image_shape: tuple[int, ...], class_names: tuple[str, ...], seed: int = 0
    ) -> None:
        super().__init__()
        self.config, self.image_shape, self.class_names = config, image_shape, class_names
        if len(image_shape) not in (1, 3) or min(image_shape) < 1 or math.prod(image_shape) > LARGEST_SAMPLE:
            raise ValueError(
                f"image_shape is {image_shape}, expected (C, H, W) or one size, at most {LARGEST_SAMPLE} values"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.build()

    def build(self) -> None:
        """Make the networks, as attributes."""
        raise NotImplementedError

    def optimizers(self, run: RunConfig) -> Mapping[str, torch.optim.Optimizer]:
        """By name, each of a network's weights; ``run`` is what the run was told."""
        raise NotImplementedError

    def step(self, now: Step) -> None:
        """One training step: draws from ``now``, and minimises by it."""
        raise NotImplementedError

    @property
    def averaged(self) -> nn.Module:
        """What is needed to use a trained system, and whose weights are averaged over the steps."""
        raise NotImplementedError

    def preview(self, averaged: nn.Module) -> Tensor | tuple[str, ...]:
        """What the averaged weights can do: pictures (N, C, H, W) in [-1, 1], points (N, 2), or lines of text."""
        raise NotImplementedError

    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        batch: int = 64,
        device: str | torch.device = "cpu",
        progress: bool = False,
    ) -> Pictures:
        """Samples of a trained system; each system adds options of its own, which `genfuse sample` hands on.

        Args:
            count: how many.
            seed: number i has ``seed + i``, whatever ``batch`` is.
            batch: samples at a time.
            device: where the networks run.
            progress: show how far it is.
        """
        raise NotImplementedError

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[Any, RunConfig]:
        """What `genfuse train` takes for such samples where the user says nothing."""
        return cls.config_class(), RunConfig()

    @classmethod
    def fitted(cls, config: ConfigT, data: Data) -> ConfigT:
        """The settings with those that follow from the data."""
        return config

    @classmethod
    def check_views(cls, data: Data) -> None:
        """ValueError for pairs where single pictures are expected, and the other way round."""
        if data.views != cls.views:
            kinds = {
                1: "single pictures",
                2: "pairs of pictures (openmoji-pairs, or a folder with two subfolders)",
            }
            found, expected = (
                kinds.get(views, f"{views} pictures a sample") for views in (data.views, cls.views)
            )
            raise ValueError(f"data has {found}, expected {expected} for {cls.name!r}")

    def see(self, data: Data) -> None:
        """Keep what previews show of the data, if anything; nothing that is trained on it."""

    def label(self, class_name: str) -> int:
        """The label of a class. ValueError, naming the nearest, where there is no such class."""
        return self.class_names.index(check_name("label", class_name, self.class_names))

    def metadata(self) -> dict[str, Any]:
        """What :meth:`restored` needs beside the weights."""
        assert dataclasses.is_dataclass(self.config) and not isinstance(self.config, type)
        return {
            "system": self.name,
            "config": dataclasses.asdict(self.config),
            "image_shape": list(self.image_shape),
            "class_names": list(self.class_names),
        }

    @classmethod
    def load(cls: type[_System], path: Any) -> _System:
        """A trained system, its averaged weights in float32, ready to use: of a file, a run, or one of its steps.

        Raises:
            CheckpointError: see :func:`genfuse.train.checkpoint.load` and :meth:`restored`.
        """
        return cls.restored(checkpoint.load(path))

    @classmethod
    def restored(cls: type[_System], loaded: Checkpoint) -> _System:
        """As :meth:`load`.

        Raises:
            CheckpointError: it is another system's, or describes other networks or samples than its weights are for.
        """
        if loaded.metadata.get("system") != cls.name:
            raise CheckpointError(
                f"{loaded.path} is of system {loaded.metadata.get('system')!r}, expected {cls.name!r}"
            )
        try:
            described = cls._described(loaded)
            with torch.device("meta"):  # networks that the file does not hold are not worth their memory
                loaded.check(cls(*described).averaged, "ema")
            system = cls(*described)
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"{loaded.path} does not describe a {cls.__name__} ({error!r}): copy it anew"
            ) from error
        loaded.restore(system.averaged, "ema")
        system.eval()
        return system

    @classmethod
    def _described(cls, loaded: Checkpoint) -> tuple[Any, tuple[int, ...], tuple[str, ...]]:
        config = settings.changed(cls.config_class(), dict(loaded.metadata["config"]))
        cls.check_sizes(config, loaded.tensors)
        shape = tuple(map(index, loaded.metadata["image_shape"]))
        names = loaded.metadata["class_names"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"class_names is {names!r}, expected a list of names")
        return config, shape, tuple(cast(list[str], names))

    @classmethod
    def check_sizes(cls, config: Any, tensors: Mapping[str, Tensor]) -> None:
        """ValueError for numbers beyond what the stored tensors can be of: networks are built from them next."""
        largest = max((size for tensor in tensors.values() for size in tensor.shape), default=1)
        for name, value in settings.names(config):
            if name in cls.counts:
                continue
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int) and number > max(largest, 1024):
                    raise ValueError(f"{name} is {number}, expected at most {largest} with these tensors")

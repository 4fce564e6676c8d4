"""What systems share that make pictures from pictures: what is given and what comes of it, side by side."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from genfuse import data
from genfuse.data import ImageDataset
from genfuse.data.dataset import Data
from genfuse.data.folder import pictures_at
from genfuse.names import check_name
from genfuse.ops import check
from genfuse.train import System
from genfuse.train.checkpoint import Checkpoint
from genfuse.train.pictures import Pictures

ConfigT = TypeVar("ConfigT")
SHOWN = 8
"""Rows of a preview."""


@dataclass(frozen=True)
class Given:
    """Pictures to translate.

    Attributes:
        images: (N, C, H, W) in [-1, 1].
        source: (N,) the domain of each.
        targets: (N, K) domains that each is translated to.
        truth: (N, K, C, H, W) what should come of it, where that is known.
    """

    images: Tensor
    source: Tensor
    targets: Tensor
    truth: Tensor | None = None


class Translator(System[ConfigT]):
    """Pictures of domain ``source`` become pictures of domain ``target`` by :meth:`translated`."""

    one_way: ClassVar[bool] = False
    """Whether only the first domain is translated, and to the second alone."""
    examples: ImageDataset | None = None
    trained_on: str = ""

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of the domains."""
        return self.class_names

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one picture."""
        channels, height, width = self.image_shape
        return channels // self.views, height, width

    def check_two_domains(self) -> None:
        """ValueError where the data has not two domains, as its classes."""
        if len(self.class_names) != 2:
            raise ValueError(
                f"the data has {len(self.class_names)} classes, expected two domains for {self.name!r}: "
                "openmoji-unpaired, photographs, digits-inverted, or a folder with two subfolders"
            )

    def translated(
        self, averaged: nn.Module, images: Tensor, source: Tensor, target: Tensor, seeds: Tensor
    ) -> Tensor:
        """images (N, C, H, W) of domains source (N,) → (N, C, H, W) of domains target (N,); noise by seeds (N,)."""
        raise NotImplementedError

    def see(self, data: Data) -> None:
        """What is held out of the data, or where nothing is, the data: previews translate it."""
        assert isinstance(data, ImageDataset)
        self.examples = data.held_out or data

    @classmethod
    def restored(cls, loaded: Checkpoint) -> Any:
        """As :meth:`genfuse.train.System.restored`; and which data it was trained on, whose held-out part it shows."""
        system = super().restored(loaded)
        source = loaded.metadata.get("data")
        system.trained_on = str(source.get("name", "")) if isinstance(source, dict) else ""
        return system

    def preview(self, averaged: nn.Module) -> Tensor:
        """Rows of a held-out picture, what comes of it and, where it is known, what should."""
        shown = self._examples(0, SHOWN, None)
        self.columns = _columns(shown)
        return _rows(shown, self._translations(averaged.eval(), shown, 0, SHOWN))

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
        """``images`` are translations alone; ``shown`` has each beside its input and, where it is known, the truth.

        Args:
            count, seed, batch, device, progress: as :meth:`genfuse.train.System.sample`: translations of held-out
                pictures from the one of number ``seed`` on, with noise of its own.
            label: the domain to translate to; where left out the other one, or of several each.
            input: a picture, or a folder, all of which is translated in the place of held-out pictures. Where a system
                has to know their domain, it is the other one than ``label``; of several, the first.
        """
        place = check.device("device", device)
        averaged = self.averaged.to(place).eval()
        target = None if label is None else self._target(label)
        if input is None:
            each = len(self.domains) if target is None and len(self.domains) > 2 else 1
            given = self._examples(seed // each, -(-count // each), target)
        else:
            given = self._own(Path(input), target)
            count = given.targets.numel()
        began = time.perf_counter()
        made = self._translations(averaged, given, seed, batch)
        seconds = time.perf_counter() - began
        shown = _rows(given, made)
        return Pictures(
            made.flatten(0, 1)[:count], seconds, f"{self.name}, seed {seed}", _columns(given), shown=shown
        )

    def _target(self, label: str) -> int:
        targets = self.domains[1:] if self.one_way else self.domains
        return self.domains.index(check_name("label", label, targets))

    def _translations(self, averaged: nn.Module, given: Given, seed: int, batch: int) -> Tensor:
        """(N, K, C, H, W), on the CPU; picture i has the noise of seed + i."""
        place = next(averaged.parameters()).device
        parts = []
        for rows in torch.split(torch.arange(len(given.images)), batch):
            images, source, seeds = given.images[rows], given.source[rows], seed + rows
            each = [
                self.translated(averaged, *(t.to(place) for t in (images, source, target, seeds))).cpu()
                for target in given.targets[rows].unbind(1)
            ]
            parts.append(torch.stack(each, 1))
        return torch.cat(parts)

    def _targets(self, source: Tensor, target: int | None) -> Tensor:
        """(N, K)."""
        if target is not None:
            return torch.full((len(source), 1), target)
        if len(self.domains) == 2:
            return 1 - source[:, None]
        return torch.arange(len(self.domains)).expand(len(source), -1)

    def _examples(self, first: int, count: int, target: int | None) -> Given:
        """Held-out pictures from number ``first`` on, of the domains in turn."""
        if self.examples is None:
            if self.trained_on not in data.PICTURES:
                raise ValueError(
                    f"this {self.name} was trained on {self.trained_on!r}, which comes with no package: name pictures "
                    "to translate (--input)"
                )
            self.see(data.load(self.trained_on, self.image_shape[1]))
        assert self.examples is not None
        domains = len(self.domains)
        sources = (
            [0] if self.one_way else [place for place in range(domains) if domains > 2 or place != target]
        )
        turn = torch.arange(first, first + count)
        source = torch.tensor(sources)[turn % len(sources)]
        targets = self._targets(source, target)
        if self.examples.views == 1:
            of_domain = [(self.examples.labels == place).nonzero()[:, 0] for place in range(domains)]
            chosen = [
                of_domain[place][i // len(sources) % len(of_domain[place])]
                for i, place in zip(turn.tolist(), source.tolist(), strict=True)
            ]
            return Given(self.examples.images[torch.stack(chosen)], source, targets)
        aligned = self.examples.by_view[turn % len(self.examples)]
        rows = torch.arange(count)
        return Given(aligned[rows, source], source, targets, aligned[rows[:, None], targets])

    def _own(self, path: Path, target: int | None) -> Given:
        """One's own pictures."""
        channels, height, _ = self.picture_shape
        images = pictures_at(path, height)
        images = images.mean(1, keepdim=True) if channels == 1 else images
        source = torch.zeros(len(images), dtype=torch.int64)
        if target == 0 and len(self.domains) == 2:
            source += 1
        return Given(images, source, self._targets(source, target))


def _rows(given: Given, made: Tensor) -> Tensor:
    """(N·columns, C, H, W)."""
    parts = (
        [given.images[:, None], made] if given.truth is None else [given.images[:, None], made, given.truth]
    )
    return torch.cat(parts, 1).flatten(0, 1)


def _columns(given: Given) -> int:
    """Pictures of each row."""
    targets = given.targets.shape[1]
    return 1 + targets if given.truth is None else 1 + 2 * targets

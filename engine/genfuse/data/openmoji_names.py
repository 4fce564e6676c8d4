"""OpenMoji by name: a class an emoji, whose name is what text-to-image reads."""

from __future__ import annotations

import torch

from genfuse.data.dataset import ImageDataset, check_size
from genfuse.data.emoji import emoji
from genfuse.data.openmoji import ATTRIBUTION, Progress, drawn, may_flip


def openmoji_names(size: int = 32, progress: Progress = None) -> ImageDataset:
    """Those of :func:`genfuse.data.openmoji` that have a name of their own in Unicode, each of its name's class.

    As there, but 2,000 pictures in as many classes: "purple heart", "waving hand sign, dark skin tone".
    """
    check_size(size)
    chosen = [each for each in emoji() if each.has_own_name]
    classes = tuple(dict.fromkeys(each.name for each in chosen))
    places = {name: place for place, name in enumerate(classes)}
    labels = torch.tensor([places[each.name] for each in chosen], dtype=torch.int64)
    images = drawn(chosen, size, progress)
    return ImageDataset("openmoji-names", images, labels, classes, may_flip(chosen), ATTRIBUTION)

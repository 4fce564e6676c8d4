"""OpenMoji for translation: line art and colour of the same emoji, in pairs or apart; the same emoji in five tones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse.data.dataset import ImageDataset, check_size
from genfuse.data.emoji import TONES, Emoji, emoji
from genfuse.data.emoji_classes import CLASSES
from genfuse.data.openmoji import ATTRIBUTION, LINES, Progress, drawn, labels, may_flip


def openmoji_pairs(size: int = 32, progress: Progress = None) -> ImageDataset:
    """Line art and, behind it on the channels, the whole drawing: (N, 6, size, size) pictures.

    Of the emoji without skin tones, and without flags, whose outlines are alike. A tenth is held out. Arguments and
    errors as those of :func:`genfuse.data.openmoji`.
    """
    check_size(size)
    chosen = [each for each in emoji() if not (each.is_joined or each.tones or each.category == "flags")]
    images = torch.cat((drawn(chosen, size, progress, LINES), drawn(chosen, size, progress)), 1)
    order = torch.randperm(
        len(chosen), generator=torch.Generator().manual_seed(0)
    )  # else like stand beside like
    chosen, images, names = [chosen[place] for place in order.tolist()], images[order], tuple(CLASSES)
    pairs = ImageDataset(
        "openmoji-pairs", images, labels(chosen), names, may_flip(chosen), ATTRIBUTION, views=2
    )
    return pairs.split(_held_out(chosen))


def openmoji_unpaired(size: int = 32, progress: Progress = None) -> ImageDataset:
    """Line art of one half of the emoji and drawings of the other half: domains "line" and "colour".

    The emoji are those of :func:`openmoji_pairs`, whose held-out pairs show what a translation should come to.
    """
    pairs = openmoji_pairs(size, progress)
    return pairs.apart("openmoji-unpaired", ("line", "colour"))


def openmoji_tones(size: int = 32, progress: Progress = None) -> ImageDataset:
    """The emoji of one person, each in five skin tones, which are the classes.

    A tenth of the emoji is held out: each a sample of five pictures on the channels, in the order of the classes.
    Arguments and errors as those of :func:`genfuse.data.openmoji`.
    """
    check_size(size)
    groups: dict[tuple[int, ...], dict[str, Emoji]] = defaultdict(dict)
    for each in emoji():
        if len(each.tones) == 1:
            groups[each.without_tone][each.tones[0]] = each
    whole = [group for group in groups.values() if len(group) == len(TONES)]
    chosen = [group[tone] for group in whole for tone in TONES]
    images = torch.unflatten(drawn(chosen, size, progress), 0, (len(whole), len(TONES)))
    first = [group["light"] for group in whole]
    aligned = ImageDataset(
        "openmoji-tones",
        images.flatten(1, 2),
        labels(first),
        tuple(CLASSES),
        may_flip(first),
        ATTRIBUTION,
        views=len(TONES),
    )
    return aligned.split(_held_out(first)).laid_out("openmoji-tones", tuple(TONES))


def _held_out(chosen: Sequence[Emoji]) -> Tensor:
    """(N,) bool: every tenth first code point, so that an emoji's variants stay together."""
    points = sorted({each.code_points[0] for each in chosen})
    held = set(points[9::10])
    return torch.tensor([each.code_points[0] in held for each in chosen], dtype=torch.bool)

"""What translations are measured at: their distance to what they should be, and whether digits stay what they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfuse.data import ImageDataset, digits
from genfuse.data.digit_domains import NAMES, undone
from genfuse.evaluate import encoder, fid
from genfuse.systems.translation import Translator

_GREY = 0.01
"""Saturation up to which pictures, in [-1, 1], are grey."""


def of_translations(system: Translator[Any], source: ImageDataset) -> dict[str, Any]:
    """Of each direction, over all that was held out in every domain; nothing where no truth is known.

    ``distance`` is the mean absolute difference to the truth, pixels in [-1, 1], ``untouched`` that of the input. The
    least distance is a mean of all that could be, and grey; so of pictures ``fid`` to the truth, and ``saturation``,
    how far a pixel's channels differ, as a part of the truth's where that is not grey. Of digits ``accuracy`` is how
    many the shipped encoder reads right once the guise is undone, ``of_the_truth`` how many of what they should be,
    ``if_untouched`` how many of the input, had it not been translated. ``by_nearest_digit`` is how many have the class
    of the digit next to them among those of training: a judge that no system had a look at, as DTN has at the encoder.
    """
    held_out, found = source.held_out, {}
    if held_out is None or held_out.views != len(system.domains):
        return {}
    network, of_digits = encoder(), source.name in NAMES
    starts = range(1 if system.one_way else held_out.views)
    for start, end in ((s, e) for s in starts for e in range(held_out.views) if s != e):
        given, truth = held_out.view(start).images, held_out.view(end).images
        made = _made(system, given, start, end)
        row = {"distance": _mean(made, truth), "untouched": _mean(given, truth)}
        if not of_digits:
            row["fid"] = round(fid(network, made, truth).item(), 3)
            row["fid_if_untouched"] = round(fid(network, given, truth).item(), 3)
            of_truth = _saturation(truth)
            if of_truth > _GREY:
                row["saturation"] = round(_saturation(made) / of_truth, 3)
        else:
            pictures = {"accuracy": made, "of_the_truth": truth, "if_untouched": given}
            for name, images in pictures.items():
                with torch.no_grad():
                    seen = network.classify(undone(images, system.domains[end])).argmax(1)
                row[name] = round((seen == held_out.labels).double().mean().item(), 4)
            nearest = _nearest_digit(undone(made, system.domains[end]))
            row["by_nearest_digit"] = round((nearest == held_out.labels).double().mean().item(), 4)
        found[f"{system.domains[start]} to {system.domains[end]}"] = row
    return found


def _nearest_digit(images: Tensor) -> Tensor:
    """(N,): the class of the digit nearest to each (N, 1, S, S), pixel by pixel, among those that are not held out."""
    known = digits(images.shape[-1])
    kept = torch.arange(len(known)) % 10 != 9
    distances = torch.cdist(images.flatten(1), known.images[kept].flatten(1))
    return known.labels[kept][distances.argmin(1)]


@torch.no_grad()
def _made(system: Translator[Any], given: Tensor, start: int, end: int) -> Tensor:
    rows = torch.arange(len(given))
    parts = [
        system.translated(
            system.averaged, given[part], torch.full((len(part),), start), torch.full((len(part),), end), part
        )
        for part in torch.split(rows, 64)
    ]
    return torch.cat(parts)


def _mean(images: Tensor, truth: Tensor) -> float:
    return round((images - truth).abs().mean().item(), 4)


def _saturation(images: Tensor) -> float:
    return (images.amax(1) - images.amin(1)).mean().item()

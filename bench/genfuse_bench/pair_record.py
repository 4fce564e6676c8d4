"""What pairs of two domains' pictures are measured at: each domain by itself, and whether a pair shows one digit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfuse.data import ImageDataset
from genfuse.data.digit_domains import NAMES, undone
from genfuse.evaluate import encoder, fid
from genfuse.systems.cogan import CoGAN


def of_pairs(system: CoGAN, source: ImageDataset, count: int = 1000) -> dict[str, Any]:
    """Of ``count`` pairs, by the shipped encoder.

    ``fid`` of each domain's pictures, beside that of both halves of the domain's data; of digits once their guise is
    undone, as the encoder knows them. Of these ``agreement`` is the share of pairs whose pictures it reads as the same
    digit, ``by_chance`` that of the same pictures paired anew.
    """
    network = encoder()
    pictures = system.sample(count, batch=250).images.chunk(2, 3)
    found: dict[str, Any] = {"fid": {}, "fid_of_halves_of_the_data": {}}
    read: list[Tensor] = []
    for domain, made in enumerate(pictures):
        name = system.class_names[domain]
        real = source.images[source.labels == domain]
        if source.name in NAMES:
            made, real = undone(made, name), undone(real, name)
        found["fid"][name] = round(fid(network, made, real).item(), 3)
        found["fid_of_halves_of_the_data"][name] = round(fid(network, real[::2], real[1::2]).item(), 3)
        if source.name in NAMES:
            with torch.no_grad():
                read.append(network.classify(made).argmax(1))
    if read:
        found["agreement"] = round((read[0] == read[1]).double().mean().item(), 4)
        found["by_chance"] = round((read[0] == read[1].roll(1)).double().mean().item(), 4)
    return found

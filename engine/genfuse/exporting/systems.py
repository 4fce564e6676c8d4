"""Which networks of a trained system are exported, and what they take."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from genfuse.errors import UnsupportedError
from genfuse.train.system import System


def networks(system: System[Any]) -> dict[str, nn.Module]:
    """By name, what makes a trained system's pictures, in eval mode: its averaged network, or those of which it is."""
    averaged = system.averaged.eval()
    if isinstance(averaged, nn.ModuleDict | nn.ModuleList):
        return {name: each for name, each in averaged.named_children() if _has_forward(each)}
    decoder = getattr(averaged, "decoder", None)
    return {"decoder": decoder} if isinstance(decoder, nn.Module) else {"network": averaged}


def _has_forward(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward and not isinstance(module, nn.Embedding)


def example(system: System[Any], module: nn.Module, batch: int) -> dict[str, Tensor]:
    """Arguments of a call of one of them for so many samples.

    UnsupportedError for a network that takes anything but pictures, latents, times, classes and seeds.
    """
    latents = getattr(system.config, "latents", 1)
    channels, *size = getattr(system, "picture_shape", system.image_shape)
    if system.name == "stargan":  # maps of the domain behind the picture's channels
        channels += len(system.class_names)
    known = {
        "x": lambda: torch.zeros(batch, channels, *size),
        "latents": lambda: torch.zeros(batch, latents),
        "t": lambda: torch.zeros(batch),
        "labels": lambda: torch.zeros(batch, dtype=torch.int64),
    }
    known |= {
        "images": known["x"],
        "pictures": known["x"],
        "label": known["labels"],
        "seeds": known["labels"],
    }
    known["input"] = known["latents"] if hasattr(system.config, "latents") else known["x"]
    given: dict[str, Tensor] = {}
    for name, parameter in inspect.signature(module.forward).parameters.items():
        classes = name == "label" and len(system.class_names) > 0
        if parameter.default is not inspect.Parameter.empty and not classes:
            continue
        if name not in known:
            raise UnsupportedError(
                f"{type(module).__name__} takes {name!r}, of which an example has to be given: call genfuse.export"
            )
        given[name] = known[name]()
    return given

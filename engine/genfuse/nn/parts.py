"""The parts of a unit: ordinary modules that hold its parameters and numbers, and do not run themselves."""

from __future__ import annotations

from typing import Any

from torch import nn

from genfuse.errors import UnsupportedError
from genfuse.ops.conv_norm_act import Settings

_OF_CONVOLUTION = ("stride", "padding", "dilation", "groups")


def of_parts(settings: Settings, *parts: nn.Module) -> Settings:
    """The settings with the numbers that a unit's norm and convolution have now.

    UnsupportedError where a part has hooks, as the old `torch.nn.utils.weight_norm` and `spectral_norm` put there: its
    forward, which would call them, is never called.
    """
    for part in parts:
        if part._forward_pre_hooks or part._forward_hooks:
            raise UnsupportedError(
                f"a {type(part).__name__} inside a unit has forward hooks, which do not run there; use "
                "torch.nn.utils.parametrizations for its weight, or hook the unit"
            )
        settings = of_part(settings, part)
    return settings


def of_part(settings: Settings, part: nn.Module) -> Settings:
    """The settings with the numbers that this norm or convolution has now."""
    names = _OF_CONVOLUTION if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)) else ("eps",)
    if isinstance(part, nn.Identity):
        return settings
    if names == ("eps",) and part.eps is None:
        raise ValueError(f"eps of a unit's {type(part).__name__} is None, expected a number")
    changed: dict[str, Any] = {
        name: getattr(part, name) for name in names if getattr(part, name) != getattr(settings, name)
    }
    return settings._replace(**changed) if changed else settings

"""Where in a network a call is made or an error arises, as messages name it."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn


def names_of(network: object) -> dict[int, str]:
    """Of the network's modules, by id; none of a function's."""
    modules = network.named_modules() if isinstance(network, nn.Module) else ()
    return {id(module): name for name, module in modules}


def place(selves: Iterable[object], names: Mapping[int, str], network: str) -> str:
    """The first of these that is a module of the network, innermost first; of a function's, the first module.

    network  the user's word for it
    """
    found = ""
    for module in selves:
        if isinstance(module, nn.Module):
            kind = type(module).__name__
            if id(module) in names:
                name = names[id(module)]
                return f"{network}{'.' if name else ''}{name} ({kind})"
            found = found or f"{kind} in the {network}"
    return found or f"the {network}"


def say_where(
    error: Exception, network: object, name: str, point: Tensor, arguments: Mapping[str, Any]
) -> None:
    """A note on an error that the network raised: in which module, and what the network was called with."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    selves = [frame.f_locals.get("self") for frame in reversed(frames)]
    given = ", ".join([f"an input {tuple(point.shape)} of {point.dtype}", *arguments])
    note = f"raised in {place(selves, names_of(network), name)}, by {name}({given})"
    module = next((each for each in selves if isinstance(each, nn.Module)), None)
    weights = () if module is None else module.parameters(recurse=False)
    others = {str(w.dtype) for w in weights if w.is_floating_point()} - {str(point.dtype)}
    if others:
        note += f", where weights are {', '.join(sorted(others))}: one dtype is expected, or torch.autocast"
    add_note = getattr(error, "add_note", None)
    if add_note is not None:  # Python 3.10 has none
        add_note(note)

"""Options of the commands."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
import typer


def some_of(option: str, text: str | None, known: Collection[str], default: Sequence[str]) -> Sequence[str]:
    """The comma-separated names, each of them known."""
    if text is None:
        return default
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}", param_hint=option)
    return names


def device_of(text: str) -> torch.device:
    """The device, which is here."""
    try:
        device = torch.device(text)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise typer.BadParameter(f"{text!r} cannot be used here: {reason}", param_hint="--device") from None
    return device

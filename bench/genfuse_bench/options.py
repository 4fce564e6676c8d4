"""Options that the commands share, and what they may be."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from genfuse_bench.timing import Effort

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Of everyone; PyTorch's default if left out.", show_default=False)
]
Quick = Annotated[bool, typer.Option("--quick", help="Rough figures, in seconds.")]
Cold = Annotated[bool, typer.Option("--cold", help="Empty the caches before each step that is timed.")]
Output = Annotated[Path | None, typer.Option(help="Folder that gets <command>_<device>.jsonl.")]
Report = Annotated[Path | None, typer.Option(help="The rows as a page: out.html.")]


def some_of(option: str, text: str | None, known: Collection[str], default: Sequence[str]) -> Sequence[str]:
    """The comma-separated names, each of them known."""
    if text is None:
        return default
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}", param_hint=option)
    return names


def peers_of(text: str | None, known: Collection[str]) -> list[str]:
    """Some of them, all if left out, or "none"."""
    return [] if text == "none" else list(some_of("--peers", text, known, list(known)))


def device_of(text: str, *kinds: str) -> torch.device:
    """The device, which is here, and of one of these kinds, where a bench measures nothing else."""
    try:
        device = torch.device(text)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise typer.BadParameter(f"{text!r} cannot be used here: {reason}", param_hint="--device") from None
    if kinds and device.type not in kinds:
        raise typer.BadParameter(
            f"{text!r} is not measured by this bench, which knows {', '.join(kinds)}; `genfuse bench ops` and "
            "`sampler_step` know GPUs",
            param_hint="--device",
        )
    return device


def effort_of(full: Effort, short: Effort, *, quick: bool, cold: bool) -> Effort:
    """How long to measure, and with which caches."""
    return replace(short if quick else full, cold=cold)


def shapes_of(text: str, dimensions: int | None = None) -> list[tuple[int, ...]]:
    """Of 1x3x32x32,64x3x64x64."""
    try:
        shapes = [tuple(int(size) for size in shape.split("x")) for shape in text.split(",")]
    except ValueError:
        shapes = []
    if not shapes or any(
        len(shape) < 2 or min(shape) < 1 or dimensions not in (None, len(shape)) for shape in shapes
    ):
        raise typer.BadParameter(f"{text!r}, expected sizes as 1x3x32x32,64x3x64x64", param_hint="--shapes")
    return shapes


def numbers_of(option: str, text: str) -> list[int]:
    """The numbers between commas, 1 or more."""
    found = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if min(found) < 1:
        raise typer.BadParameter(f"{text!r} is no list of numbers, as 16,64", param_hint=option)
    return found

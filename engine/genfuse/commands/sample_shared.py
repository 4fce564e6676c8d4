"""`genfuse sample` by several processes, or into a folder: part by part, in memory that does not grow with a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from genfuse import processes
from genfuse.data.atomic import check_folder
from genfuse.data.grid import save_grid
from genfuse.data.numbered import save_numbered
from genfuse.data.scatter import scatter
from genfuse.ops import check
from genfuse.processes import Processes

if TYPE_CHECKING:  # the command line starts without the training loop
    from genfuse.train.system import System


def sample_shared(
    system: System[Any],
    count: int,
    every: Processes,
    options: dict[str, Any],
    folder: Path | None,
    output: Path,
    scale: int,
) -> None:
    """``count`` samples of all processes to files in ``folder``, or at the first process to a grid at ``output``.

    ValueError, before anything is sampled, for walks by several processes, and a folder that is not new.
    """
    if every.world > 1 and (options.get("interpolate") or options.get("arithmetic")):
        raise ValueError("walks are rows of neighbours, which processes do not share: leave torchrun out")
    options = {**options, "device": check.device("device", processes.place(options["device"]))}
    if folder is not None:
        _check(system, folder)
    every.wait()  # all have seen it empty
    began = time.perf_counter()
    detail = _sampled(system, count, every, options, folder, output, scale)
    seconds = time.perf_counter() - began
    by = f"by {every.world} processes; " if every.world > 1 else ""
    Console(quiet=not every.is_first).print(
        f"{count} samples in {seconds:.2f} s: {count / seconds:.1f} pictures/s; {by}{detail} -> {folder or output}",
        highlight=False,
    )


def _check(system: System[Any], folder: Path) -> None:
    check_folder("folder", folder)
    if len(system.image_shape) != 3:
        raise ValueError(f"folder is {folder}, but samples of {system.name!r} are no pictures: leave it out")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"folder is {folder}, which is not empty, expected a new one: pictures would mix")


def _sampled(
    system: System[Any],
    count: int,
    every: Processes,
    options: dict[str, Any],
    folder: Path | None,
    output: Path,
    scale: int,
) -> str:
    """Returns how they were made."""
    from genfuse.systems.parts import parts

    detail, kept = "", []
    for first, made in parts(system, count, every, **options):
        detail = made.detail
        if folder is None:
            kept.append((first, made.images))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            save_numbered(made.images, folder, first)
    if folder is None:
        gathered = sorted((part for mine in every.gather(kept) for part in mine), key=lambda part: part[0])
        if gathered:
            images = torch.cat([images for _, images in gathered])
            save_grid(images if images.ndim == 4 else scatter(images), output, None, scale)
    every.wait()
    return detail

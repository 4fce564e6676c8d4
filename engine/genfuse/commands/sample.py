"""`genfuse sample`: pictures from a checkpoint, in a grid or as files of their own, by one process or several."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from rich.console import Console

import genfuse
from genfuse import processes
from genfuse.commands.options import GuidanceOption, SamplerOption, StepsOption, own_options
from genfuse.ops import check
from genfuse.processes import Processes

if TYPE_CHECKING:  # the command line starts without the training loop
    from genfuse.train.system import System

_console = Console()


def sample(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="A checkpoint file or a training run's folder; the shipped one if left out."),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Pictures to make.")] = 64,
    sampler: SamplerOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    label: Annotated[
        str | None,
        typer.Option(help="Class of all pictures, or the domain to translate to; each in turn if left out."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="What all pictures are of, or what is rewritten. Systems that read only."),
    ] = None,
    interpolate: Annotated[
        bool, typer.Option("--interpolate", help="Rows from one picture's latents to the next one's.")
    ] = False,
    arithmetic: Annotated[
        bool, typer.Option("--arithmetic", help="Rows of a, b, c and a - b + c of their latents.")
    ] = False,
    truncation: Annotated[
        float | None, typer.Option(help="Share of the way from the mean style (1). Style GANs only.")
    ] = None,
    style_mixing: Annotated[
        int | None,
        typer.Option(
            min=1, help="A grid: so many layers' styles of its row, the finer of its column. Style GANs only."
        ),
    ] = None,
    input: Annotated[
        Path | None,
        typer.Option(
            help="A picture, or a folder of them, to translate, held-out data if left out; a talking head's track."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Picture i has seed SEED + i, whatever the batch.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 64,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the grid goes; of a name.gif one by one.")
    ] = Path("samples.png"),
    folder: Annotated[
        Path | None, typer.Option(help="In the grid's place: a new folder of pictures, 00000000.png and on.")
    ] = None,
    scale: Annotated[int, typer.Option(min=1, help="Enlarge each pixel of the grid this many times.")] = 2,
    reproducible: Annotated[
        bool, typer.Option(help="Kernels by rule; otherwise the fastest as `genfuse tune` measures them.")
    ] = True,
) -> None:
    """Sample pictures from a system's checkpoint, as a grid or each as a file; print samples that are text.

    Under torchrun processes share the pictures, which are the same, bit for bit.
    """
    from genfuse import systems
    from genfuse.systems.sampling import SHIPPED

    place = check.device("device", processes.place(device))
    with genfuse.backend(reproducible=reproducible), processes.joined(place) as every:
        system = systems.load(checkpoint or SHIPPED)
        _check(system, count, output, folder, scale, every)
        walks = {
            "interpolate": interpolate or None,
            "arithmetic": arithmetic or None,
            "style_mixing": style_mixing,
        }
        if every.world > 1 and any(walks.values()):
            raise ValueError("walks are rows of neighbours, which processes do not share: leave torchrun out")
        solver = {"sampler": sampler, "steps": steps, "guidance": guidance, "label": label}
        others = {"truncation": truncation, "text": text, "input": input}
        options = own_options(system, **solver, **walks, **others)
        options |= {"seed": seed, "batch": batch, "device": place}
        if every.world == 1 and folder is None:
            made = system.sample(count, progress=_console.is_terminal, **options)
            if made.texts:
                for line in made.texts:
                    _console.print(line, highlight=False, markup=False, soft_wrap=True)
                return
            moving = output.suffix.lower() == ".gif"
            shown = made.images if made.shown is None or moving else made.shown
            _save_grid(shown, output, scale, made.columns)
            _say(len(made.images), made.seconds, f"{made.detail} -> {output}")
            return
        began = time.perf_counter()
        detail = _shared(system, count, every, folder, options, output, scale)
        if every.is_first:
            by = f"by {every.world} processes; " if every.world > 1 else ""
            _say(count, time.perf_counter() - began, f"{by}{detail} -> {folder or output}")


def _check(
    system: System[Any], count: int, output: Path, folder: Path | None, scale: int, every: Processes
) -> None:
    """ValueError for what cannot be written, before anything is sampled."""
    from genfuse.data.atomic import check_folder, check_path
    from genfuse.data.grid import grid_shape

    are_pictures = len(system.image_shape) == 3
    if not are_pictures and system.image_shape != (2,) and (folder is not None or every.world > 1):
        raise ValueError(
            f"samples of {system.name!r} are text, which one process prints: leave folder and torchrun out"
        )
    if folder is None:
        check_path("output", output)
        if are_pictures:
            _, height, width = system.image_shape
            grid_shape(count, height * scale, width * scale)
        return
    check_folder("folder", folder)
    if not are_pictures:
        raise ValueError(f"folder is {folder}, but {system.name!r} makes points here: leave it out")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"folder is {folder}, which is not empty, expected a new one: pictures would mix")
    every.wait()  # all have seen it empty


def _shared(
    system: System[Any],
    count: int,
    every: Processes,
    folder: Path | None,
    options: dict[str, Any],
    output: Path,
    scale: int,
) -> str:
    """This process's samples to the folder, or all at the first one to the grid; returns how they were made."""
    from genfuse.data.numbered import save_numbered
    from genfuse.systems.parts import parts

    detail, kept = "", [(count, torch.zeros(0, *system.image_shape))]
    for first, made in parts(system, count, every, **options):
        detail = made.detail
        if folder is None:
            kept.append((first, made.images))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            save_numbered(made.images, folder, first)
    if folder is None:
        gathered = [part for of_process in every.gather(kept) for part in of_process]
        if every.is_first:
            gathered.sort(key=lambda part: part[0])
            _save_grid(torch.cat([images for _, images in gathered]), output, scale)
    every.wait()
    return detail


def _save_grid(images: torch.Tensor, output: Path, scale: int, columns: int | None = None) -> None:
    from genfuse.data.animation import save_animation
    from genfuse.data.grid import save_grid
    from genfuse.data.scatter import scatter

    if output.suffix.lower() == ".gif" and images.ndim == 4:
        save_animation(images, output, scale)
        return
    save_grid(images if images.ndim == 4 else scatter(images), output, columns, scale)


def _say(count: int, seconds: float, rest: str) -> None:
    _console.print(
        f"{count} samples in {seconds:.2f} s: {count / seconds:.1f} pictures/s; {rest}", highlight=False
    )

"""`genfuse singan ...`: what a SinGAN that was trained on one photograph does with it, each a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from torch import Tensor

    from genfuse.systems.singan import SinGAN

Checkpoint = Annotated[Path, typer.Argument(help="A checkpoint file or a training run's folder.")]
Picture = Annotated[Path, typer.Argument(help="A picture; it is brought to the photograph's size.")]
Mask = Annotated[Path, typer.Option(help="A picture of the same size, white where something was changed.")]
Scale = Annotated[
    int | None,
    typer.Option(min=1, help="Where the picture enters: 1, the coarsest, makes the most of it anew."),
]
Seed = Annotated[int, typer.Option(help="Of the noise.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The picture that is written.")]

_console = Console()


def commands(reporting: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """The commands, each inside ``reporting``, which says what the user did wrong."""
    app = typer.Typer(help="What a trained SinGAN does with its photograph, and with others like it.")
    each: dict[str, Callable[..., None]] = {
        "samples": samples,
        "paint": paint,
        "harmonize": harmonize,
        "edit": edit,
        "super-resolution": super_resolution,
    }
    for name, command in each.items():
        app.command(name)(reporting(command))
    return app


def samples(
    checkpoint: Checkpoint,
    height: Annotated[
        int | None, typer.Option(min=1, help="In pixels; the photograph's if left out.")
    ] = None,
    width: Annotated[int | None, typer.Option(min=1, help="In pixels; the photograph's if left out.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Pictures to make.")] = 9,
    scale: Annotated[int, typer.Option(min=0, help="Coarser ones keep the photograph's layout.")] = 0,
    seed: Annotated[int, typer.Option(help="Picture i has seed SEED + i.")] = 0,
    output: Output = Path("samples.png"),
) -> None:
    """Random samples, of any size, as a grid."""
    made = _loaded(checkpoint, output).sample(count, seed=seed, height=height, width=width, scale=scale)
    _save(made.images, output)


def paint(
    checkpoint: Checkpoint,
    picture: Picture,
    scale: Scale = None,
    seed: Seed = 0,
    output: Output = Path("painted.png"),
) -> None:
    """A painting as a photograph."""
    system = _loaded(checkpoint, output)
    _save(system.paint(_read(picture), scale or 1, seed), output)


def harmonize(
    checkpoint: Checkpoint,
    picture: Picture,
    mask: Mask,
    scale: Scale = None,
    seed: Seed = 0,
    output: Output = Path("harmonized.png"),
) -> None:
    """Something that was pasted into the photograph, in the photograph's manner; enters at a fine scale."""
    system = _loaded(checkpoint, output)
    finest = len(system.pyramid.sizes) - 1
    _save(system.harmonize(_read(picture), _read_mask(mask), scale or max(1, finest - 1), seed), output)


def edit(
    checkpoint: Checkpoint,
    picture: Picture,
    mask: Mask,
    scale: Scale = None,
    seed: Seed = 0,
    output: Output = Path("edited.png"),
) -> None:
    """The photograph with parts that were moved or copied, without seams; enters in the pyramid's middle."""
    system = _loaded(checkpoint, output)
    middle = (len(system.pyramid.sizes) - 1) // 2
    _save(system.harmonize(_read(picture), _read_mask(mask), scale or max(1, middle), seed), output)


def super_resolution(
    checkpoint: Checkpoint,
    picture: Annotated[
        Path | None, typer.Option(help="Another picture to enlarge; the photograph itself if left out.")
    ] = None,
    factor: Annotated[float, typer.Option(help="How many times larger, more than 1.")] = 2.0,
    seed: Seed = 0,
    output: Output = Path("enlarged.png"),
) -> None:
    """The photograph, larger than it was."""
    system = _loaded(checkpoint, output)
    _save(system.super_resolution(factor, None if picture is None else _read(picture), seed), output)


def _loaded(checkpoint: Path, output: Path) -> SinGAN:
    from genfuse.data.atomic import check_path
    from genfuse.systems.singan import SinGAN

    check_path("output", output)
    return SinGAN.load(checkpoint)


def _read(path: Path) -> Tensor:
    from genfuse.data.photograph import pixels

    return pixels(path)


def _read_mask(path: Path) -> Tensor:
    """(1, 1, H, W) in [0, 1]."""
    return (_read(path).mean(1, keepdim=True) + 1) / 2


def _save(images: Tensor, output: Path) -> None:
    """A picture alone as it is, several as a grid."""
    from genfuse.data.grid import image_grid, save_pixels

    grid = image_grid(images, gap=0 if len(images) == 1 else 2)
    save_pixels(grid, output)
    rows, columns, _ = grid.shape
    _console.print(f"{columns} x {rows} pixels -> {output}", highlight=False)

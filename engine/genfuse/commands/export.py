"""`genfuse export`: a checkpoint's network as a file for the C library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import genfuse
from genfuse.names import check_name

_console = Console()


def export(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="A checkpoint file or a training run's folder; the shipped one if left out."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file, *.gfz by custom.")] = Path(
        "model.gfz"
    ),
    batch: Annotated[
        list[int] | None,
        typer.Option("--batch", "-b", min=1, help="Samples of a call; give it again for further plans (1)."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="Which, where a system has several; the first if left out.")
    ] = None,
) -> None:
    """Write a trained network as one file that libgenfuse loads and runs without Python and PyTorch."""
    from genfuse import systems
    from genfuse.data.atomic import check_path
    from genfuse.exporting.systems import example, networks
    from genfuse.systems.sampling import SHIPPED

    check_path("output", output)
    system = systems.load(checkpoint or SHIPPED)
    every = networks(system)
    name = network or next(iter(every))
    check_name("network", name, tuple(every))
    batches = list(dict.fromkeys(batch or [1]))
    examples = [example(system, every[name], each) for each in batches]
    genfuse.export(every[name], examples, output)
    exported = genfuse.load_network(output)
    for number in range(len(exported)):
        forms = (exported.inputs(number), exported.outputs(number))
        takes, gives = (
            ", ".join(
                f"{port} {shape} {str(dtype).removeprefix('torch.')}" for port, (dtype, shape) in of.items()
            )
            for of in forms
        )
        _console.print(f"{takes} -> {gives}", highlight=False)
    _console.print(f"{output}, {output.stat().st_size / 1e6:.1f} MB", highlight=False)

"""`genfuse bench loss_curves`: whole trainings on genfuse's kernels follow eager PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
import typer
from rich.table import Table
from torch import nn

from genfuse.data.dataset import ImageDataset
from genfuse.data.digits import digits
from genfuse.data.openmoji import openmoji
from genfuse_bench.diffusion_networks import UNet
from genfuse_bench.gan_networks import dcgan_critic, dcgan_generator
from genfuse_bench.loss_curves import (
    BLOCK,
    CONTROL,
    EAGER,
    LIMIT,
    OURS,
    LossCurveRow,
    Losses,
    loss_rows,
    train_dcgan,
    train_ddpm,
)
from genfuse_bench.options import Device, Output, Threads, device_of, some_of
from genfuse_bench.session import session


@dataclass(frozen=True)
class Training:
    """Networks, how they are trained, and on what."""

    name: str
    makers: tuple[Callable[[], nn.Module], ...]
    train: Callable[..., Losses]
    pictures: Callable[[], ImageDataset]
    batch: int


def digits_unet() -> nn.Module:
    """diffusers' U-Net for grey pictures of 16x16, 16 and 32 channels, attention at 8x8."""
    return UNet(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


TRAININGS = {
    "ddpm": Training("DDPM", (digits_unet,), train_ddpm, lambda: digits(16), 16),
    "dcgan": Training(
        "DCGAN",
        (lambda: dcgan_generator(8), lambda: dcgan_critic(8)),
        train_dcgan,
        lambda: openmoji(64),
        16,
    ),
}


def loss_curves(
    sections: Annotated[str | None, typer.Option(help=f"Some of {','.join(TRAININGS)}.")] = None,
    steps: Annotated[int, typer.Option(min=BLOCK, help="Of each training.")] = 300,
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each competitor.")] = 5,
    device: Device = "cpu",
    threads: Threads = None,
    output: Output = None,
) -> None:
    """Loss curves of small DDPM and DCGAN trainings beside eager PyTorch's, in spreads of its own seeds.

    Exits with 1 where our mean curve leaves eager's by more than two of them.
    """
    device_of(device, "cpu")
    rows: list[LossCurveRow] = []
    with session("loss_curves", threads, output, None) as run:
        for name in some_of("--sections", sections, TRAININGS, list(TRAININGS)):
            torch._dynamo.reset()
            one = TRAININGS[name]
            with run.console.status(one.name) as status:
                made = loss_rows(
                    one.name,
                    one.makers,
                    one.train,
                    one.pictures(),
                    one.batch,
                    steps,
                    seeds,
                    lambda who, seed, one=one, status=status: status.update(
                        f"{one.name}, {who}, seed {seed}"
                    ),  # type: ignore[misc]
                )
            run.add(made)
            for row in made:
                run.console.print(_table(row))
            rows += made
    if not all(row.follows for row in rows):
        raise typer.Exit(1)


def _table(row: LossCurveRow) -> Table:
    """A line a point."""
    table = Table(title=f"{row.workload}, {row.seeds} seeds", title_justify="left", pad_edge=False, box=None)
    for heading in ("steps", EAGER, "its spread", OURS, CONTROL):
        table.add_column(heading, justify="right")
    for point, spread in enumerate(row.spread):
        of = {who: f"{curve[point]:.4f}" for who, curve in row.means.items()}
        steps = f"{point * row.block}-{(point + 1) * row.block - 1}"
        table.add_row(steps, of[EAGER], f"{spread:.4f}", of[OURS], of[CONTROL])
    far, apart = row.deviation, row.apart
    table.caption_justify = "left"
    table.caption = (
        f"ours at most {far[OURS]:.2f} spreads from eager's mean (limit {LIMIT:g}), the control {far[CONTROL]:.2f}; "
        f"a seed's curve {apart[OURS]:.2g} spreads from eager's of that seed, the control's {apart[CONTROL]:.2g}"
    )
    return table

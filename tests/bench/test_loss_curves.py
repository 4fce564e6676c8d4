"""`genfuse bench loss_curves`: trainings that begin alike stay alike, and what a row says of curves that are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typer.testing import CliRunner

from genfuse.data.dataset import ImageDataset
from genfuse_bench.command import app
from genfuse_bench.gan_networks import dcgan_critic, dcgan_generator
from genfuse_bench.loss_curves import (
    BLOCK,
    CONTROL,
    EAGER,
    OURS,
    Losses,
    Networks,
    loss_rows,
    train_dcgan,
    train_ddpm,
)

STEPS = 20


class Denoiser(nn.Module):
    """A residual block with a time's embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.time = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(8, 16)
        self.norms = nn.ModuleList(nn.GroupNorm(4, 16) for _ in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))
        self.last = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        waves = torch.sin(t[:, None] / 1000 * torch.arange(1, 9))
        x = self.first(x)
        h = self.convs[0](F.silu(self.norms[0](x))) + self.time(waves)[:, :, None, None]
        x = x + self.convs[1](F.silu(self.norms[1](h)))
        result: Tensor = self.last(F.silu(self.norms[2](x)))
        return result


def pictures(size: int) -> ImageDataset:
    """Stripes."""
    phase = torch.linspace(0, 6, 3 * 32).reshape(32, 3, 1, 1)
    images = torch.sin(phase + torch.linspace(0, 9, size)).expand(32, 3, size, size).contiguous()
    return ImageDataset(
        "stripes", images, torch.zeros(32, dtype=torch.long), ("stripe",), torch.zeros(32) > 0
    )


TRAININGS: dict[str, tuple[tuple[Callable[[], nn.Module], ...], Callable[..., Losses], int]] = {
    "ddpm": ((Denoiser,), train_ddpm, 12),
    "dcgan": ((lambda: dcgan_generator(4), lambda: dcgan_critic(4)), train_dcgan, 64),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_trainings_stay_alike(name: str) -> None:
    """The same seed for as long as rounding has not grown, and another seed is another curve."""
    makers, train, size = TRAININGS[name]
    torch._dynamo.reset()
    eager, ours = (Networks(who, makers) for who in (EAGER, OURS))
    want, other = (train(eager, pictures(size), 4, STEPS, seed) for seed in (0, 1))
    got = train(ours, pictures(size), 4, STEPS, 0)
    fused = [unit.algorithm for call in ours.calls for unit in call.report().fused]
    assert len(fused) >= 4 and "aten" not in fused
    for loss, curve in want.items():
        mine, theirs, another = (torch.tensor(each) for each in (got[loss], curve, other[loss]))
        assert (mine - theirs).abs().max() < 0.02 * theirs.abs().max()
        assert (another - theirs).abs().max() > 0.05 * theirs.abs().max()


def test_a_row_measures_in_spreads() -> None:
    levels = {EAGER: 0.0, OURS: 0.5, CONTROL: -1.0}

    def train(networks: Any, dataset: ImageDataset, batch: int, steps: int, seed: int) -> Losses:
        """Seeds 0, 1 and 2 lie one apart; every competitor at a level of its own."""
        return {"loss": [seed + levels[networks.calls[0].who] for _ in range(steps)]}

    class Named(nn.Identity):
        who = EAGER

    networks = iter((EAGER, OURS, CONTROL))

    def make() -> nn.Module:
        module = Named()
        module.who = next(networks)
        return module

    (row,) = loss_rows("level", [make], train, pictures(8), 2, 2 * BLOCK + 3, 3)
    assert row.spread == [1.0, 1.0] and row.means[EAGER] == [1.0, 1.0] and row.means[OURS] == [1.5, 1.5]
    assert row.deviation == {OURS: 0.5, CONTROL: 1.0} and row.apart == row.deviation
    assert row.follows and row.shape == (2, 3, 8, 8)
    levels[OURS], networks = 2.5, iter((EAGER, OURS, CONTROL))
    (row,) = loss_rows("level", [make], train, pictures(8), 2, BLOCK, 3)
    assert not row.follows


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="seeds is 1 and steps is 50, expected at least 2 and 25"):
        loss_rows("none", [Denoiser], train_ddpm, pictures(8), 2, 50, 1)
    assert CliRunner().invoke(app, ["loss_curves", "--sections", "none"]).exit_code == 2

"""`genfuse sample` by two processes: the pictures of one. (`genfuse evaluate`'s are in evaluate/test_evaluation.)"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from genfuse import systems
from genfuse.cli import app
from genfuse.processes import Processes
from genfuse.systems.parts import parts
from genfuse.train import System, checkpoint
from nn import two_processes

COUNT = 20


def system(name: str) -> System[Any]:
    chosen = systems.get(name)
    config = chosen.config_class(width=8, latents=4)
    return chosen(config, (1, 8, 8), ("one", "two", "three"), seed=1)


def saved(folder: Path) -> Path:
    made = system("cgan")
    tensors = {f"ema.{name}": tensor for name, tensor in made.averaged.state_dict().items()}
    checkpoint.save(folder / "small.safetensors", tensors, {**made.metadata(), "step": 0})
    return folder / "small.safetensors"


def run(*arguments: object) -> None:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


def commands(small: str, folder: str, rank: int = 0) -> list[str]:
    """What each process runs, and what it says of a folder that is not empty and of walks."""
    made, pictures = Path(folder), ("sample", small, "-n", COUNT, "--batch", "4")
    run(*pictures, "--folder", made / "pictures")
    run(*pictures, "-o", made / "grid.png")
    again = CliRunner().invoke(app, [*map(str, pictures), "--folder", str(made / "pictures")])
    walk = CliRunner().invoke(app, [*map(str, pictures), "--interpolate", "-o", str(made / "walk.png")])
    return [" ".join(result.output.split()) for result in (again, walk)]


@two_processes.needs_gloo
def test_two_processes_make_what_one_makes(tmp_path: Path) -> None:
    small = str(saved(tmp_path))
    one, two = tmp_path / "one", tmp_path / "two"
    alone, _ = commands(small, str(one))
    said = two_processes.run(partial(commands, small, str(two)), tmp_path)
    assert said[0] == said[1] and "walks are rows of neighbours" in said[0][1]
    assert "which is not empty" in said[0][0] and "which is not empty" in alone

    names = sorted(path.name for path in (one / "pictures").iterdir())
    assert names == [f"{number:08d}.png" for number in range(COUNT)]
    assert names == sorted(path.name for path in (two / "pictures").iterdir())
    for name in (*(f"pictures/{name}" for name in names), "grid.png"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


@pytest.mark.parametrize("world", [1, 2, 3])
def test_parts_are_the_whole(world: int) -> None:
    """Each sample is one process's, with the bits and the class that it has where one makes them all."""
    made = system("cgan").eval()
    whole = made.sample(COUNT, seed=5, batch=2).images
    found: dict[int, torch.Tensor] = {}
    for rank in range(world):
        for first, part in parts(made, COUNT, Processes(rank, world), seed=5, batch=2):
            found[first] = part.images
    assert torch.equal(torch.cat([found[first] for first in sorted(found)]), whole)
    assert len(found) == 4

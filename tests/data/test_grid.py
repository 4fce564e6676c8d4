"""Grids of pictures and files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genfuse.data import image_grid, save_grid
from genfuse.data.atomic import atomic_path, check_folder, check_path


def test_places_and_values() -> None:
    images = torch.tensor([-1.0, 0.0, 1.0])[:, None, None, None].expand(3, 1, 4, 5)
    grid = image_grid(images, columns=2, scale=1, gap=1)
    assert grid.shape == (2 * 5 + 1, 2 * 6 + 1, 3) and grid.dtype == torch.uint8
    assert (grid[1:5, 1:6] == 0).all() and (grid[1:5, 7:12] == 128).all() and (grid[6:10, 1:6] == 255).all()
    assert (grid[0] == 255).all() and (grid[6:10, 7:12] == 255).all()


def test_clamps_and_scales() -> None:
    grid = image_grid(torch.full((1, 3, 2, 2), -7.0), scale=3, gap=0)
    assert grid.shape == (6, 6, 3) and (grid == 0).all()


def test_png_holds_the_grid(tmp_path: Path) -> None:
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    save_grid(images, tmp_path / "new" / "grid.png")
    with Image.open(tmp_path / "new" / "grid.png") as image:
        assert np.array_equal(np.asarray(image), image_grid(images).numpy())


@pytest.mark.parametrize("shape", [(3, 8, 8), (0, 3, 8, 8), (1, 2, 8, 8)])
def test_bad_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images must have shape"):
        image_grid(torch.zeros(shape))


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_stays(tmp_path: Path, linked: bool) -> None:
    """Replacing a device's node or a pipe would take it from all who use it."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    path = link if linked else pipe
    for refuse in (lambda: check_path("output", path), lambda: save_grid(torch.zeros(1, 1, 2, 2), path)):
        with pytest.raises(
            ValueError, match=rf"is {path}, which is a device, a pipe or a socket, expected the"
        ):
            refuse()
    assert pipe.is_fifo() and link.is_symlink() and sorted(tmp_path.iterdir()) == [link, pipe]


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    path = tmp_path / ("a" * longest)
    check_path("output", path)
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    for check in (check_path, check_folder):
        for longer in (tmp_path / ("a" * (longest + 1)), tmp_path / ("b" * (longest + 1)) / "grid.png"):
            with pytest.raises(ValueError, match=r"^output is .*, which cannot be \(File name too long\)"):
                check("output", longer)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_a_file_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    check_path("output", tmp_path / "link")
    with atomic_path(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").read_text() == "new"


def test_a_grid_beyond_all_looking_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"grid of 1 pictures of 100000 x 100000 pixels .* at most 134217728"
    ):
        image_grid(torch.zeros(1, 3, 1, 1), scale=100_000)

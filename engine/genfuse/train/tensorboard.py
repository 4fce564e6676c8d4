"""A run's numbers and pictures for TensorBoard, where it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor


class Board:
    """Writes to ``run/tensorboard``; nothing where the package ``tensorboard`` is not installed.

    Args:
        run: the run's folder.
        step: steps taken so far: what an earlier process wrote of later ones is not shown.
    """

    def __init__(self, run: Path, step: int) -> None:
        self._writer: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def numbers(self, step: int, numbers: dict[str, float]) -> None:
        """One point of each curve."""
        if self._writer is not None:
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, step)

    def picture(self, step: int, grid: Tensor) -> None:
        """``grid`` is (H, W, 3) uint8."""
        if self._writer is not None:
            self._writer.add_image("samples", grid, step, dataformats="HWC")

    def close(self) -> None:
        """All of it is on disk."""
        if self._writer is not None:
            self._writer.close()

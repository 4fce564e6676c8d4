"""`ema_update` by its definition, as a launcher."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from genfuse_kernels.ema_update import reference


def ema_update(averages: Sequence[Tensor], parameters: Sequence[Tensor], decay: float) -> None:
    """Change `averages` in place; see `spec`."""
    for average, parameter in zip(averages, parameters, strict=True):
        average.copy_(reference.ema_update(average.double(), parameter.double(), decay))

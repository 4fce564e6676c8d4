"""The options that `optimize` and the backend of torch.compile share."""

from __future__ import annotations

from genfuse.names import check_name
from genfuse_kernels.conv_norm_act.settings import ACCURACIES


def check_options(
    *, accuracy: object = None, memory_limit: object = None, reproducible: object = True
) -> None:
    """TypeError or ValueError, naming the option, for what `optimize` does not take."""
    if accuracy is not None:
        check_name("accuracy", accuracy, ACCURACIES)
    if memory_limit is not None:
        if type(memory_limit) is not int:
            raise TypeError(f"memory_limit is {memory_limit!r}, expected a whole number of bytes")
        if memory_limit < 0:
            raise ValueError(f"memory_limit is {memory_limit}, expected bytes, 0 or more")
    if not isinstance(reproducible, bool):
        raise TypeError(f"reproducible is {reproducible!r}, expected True or False")

"""The options that `optimize` and the backend of torch.compile share."""

from __future__ import annotations

from typing import Literal

import torch

from genfuse.errors import UnsupportedError
from genfuse.names import check_name
from genfuse_kernels.conv_norm_act.settings import ACCURACIES

Memory = Literal["low"]
"""What training may cost time for: "low" keeps the input of every second unit alone."""


def check_options(
    *,
    accuracy: object = None,
    memory: object = None,
    memory_limit: object = None,
    reproducible: object = True,
) -> None:
    """TypeError or ValueError, naming the option, for what `optimize` does not take."""
    if accuracy is not None:
        check_name("accuracy", accuracy, ACCURACIES)
    if memory is not None:
        if memory != "low":
            raise ValueError(f"memory is {memory!r}, expected None or 'low'")
        if not hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks"):
            raise UnsupportedError(
                f"memory is {memory!r}, which needs torch 2.8, this is {torch.__version__}"
            )
    if memory_limit is not None:
        if type(memory_limit) is not int:
            raise TypeError(f"memory_limit is {memory_limit!r}, expected a whole number of bytes")
        if memory_limit < 0:
            raise ValueError(f"memory_limit is {memory_limit}, expected bytes, 0 or more")
    if not isinstance(reproducible, bool):
        raise TypeError(f"reproducible is {reproducible!r}, expected True or False")

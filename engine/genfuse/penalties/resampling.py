"""Resampling of a recorded network on genfuse's kernels, where units around it are composed of PyTorch's calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.penalties.rules.rule import Run


def on_kernels(call: Run) -> Run:
    """`upfirdn2d` by the backend that the caller asks for; other calls as they are. Its gradient and tangent follow."""
    if call.function is not torch.ops.genfuse.upfirdn2d:
        return call
    forced = dispatch.forced()

    def resample(*args: Any, **kwargs: Any) -> Tensor:
        with dispatch.forcing(forced):
            found: Tensor = torch.ops.genfuse.upfirdn2d(*args, **kwargs)
        return found

    return Run(resample, call.args, call.kwargs)

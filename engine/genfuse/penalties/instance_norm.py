"""Instance norm of a recorded network, whose gradient PyTorch gets wrong for one picture of channels-last memory."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from genfuse.penalties.rules.rule import Run


def on_kernels(call: Run) -> Run:
    """With its gradient laid out planar, as its result is; other calls as they are."""
    return call._replace(function=_planar) if call.function is F.instance_norm else call


def _planar(*args: Any, **kwargs: Any) -> Tensor:
    """PyTorch's backward reads a channels-last gradient of one sample as if it were planar (2.13)."""
    y = F.instance_norm(*args, **kwargs)
    if y.requires_grad:
        y.register_hook(Tensor.contiguous)
    return y

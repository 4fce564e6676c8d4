"""Generated calls of `clip_grad_norm`: lists of tensors of every size, layout and mix of dtypes."""

from __future__ import annotations

import numpy as np
import torch

from genfuse_kernels.clip_grad_norm import reference, spec
from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import Output, output, short
from genfuse_kernels.common.list_cases import tensors


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """Every third norm is within its bound already."""
    rng = np.random.default_rng([11, seed])
    gradients = tensors(rng, spec.DTYPES if seed % 2 else [dtype])
    max_norm = float("inf") if seed % 3 == 0 else float(rng.choice([0.1, 30.0]))
    norm, scaled = reference.clip_grad_norm([g.double() for g in gradients], max_norm)
    elements = sum(g.numel() for g in gradients)
    of_norm = spec.norm_dtype(gradients)
    room = output("norm", norm, spec.norm_tolerance(norm.to(of_norm), elements), of_norm)
    outputs = [
        Output(f"gradients[{i}]", g, want, spec.tolerance(want.to(g.dtype), of_norm, elements))
        for i, (g, want) in enumerate(zip(gradients, scaled, strict=True))
    ]
    arguments = {
        "norm": room.tensor,
        "gradients": gradients,
        "max_norm": max_norm,
        "only_finite": bool(seed % 2),
    }
    name = f"{len(gradients)} gradients, {short(dtype)}, at most {max_norm}"
    return cases.Case(name, arguments, [room, *outputs])

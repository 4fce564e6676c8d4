"""Generated calls of `linear`."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, Settings
from genfuse_kernels.linear import reference, spec


def random_case(
    rng: np.random.Generator, dtype: torch.dtype, product: cases.Product = torch.float32
) -> cases.Case:
    """Any sizes and activations, with bias and residual."""
    rows, inputs, outputs = (int(rng.integers(1, limit)) for limit in (200, 400, 100))
    settings = Settings(
        activation=ACTIVATIONS[rng.integers(len(ACTIVATIONS))],
        negative_slope=0.2,
        scale=float(rng.choice([1.0, 0.5])),
        out_activation=ACTIVATIONS[rng.integers(len(ACTIVATIONS))],
    )

    def values(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape)).to(dtype)

    x, weight, bias = values(rows, inputs), values(outputs, inputs), values(outputs)
    residual = values(rows, outputs)
    want = reference.linear(x.double(), weight.double(), bias.double(), settings, residual.double())
    activated = Settings(activation=settings.activation, negative_slope=0.2)
    h = reference.linear(x.double(), torch.eye(inputs, dtype=torch.float64), None, activated, None)
    size = F.linear(h.abs(), weight.double().abs(), bias.double().abs()) + residual.double().abs()
    compute = spec.tolerance(torch.float32, inputs, product=product) * (size + 1)
    out = output("out", want, compute + spec.tolerance(dtype, 1) * want.abs(), dtype)
    arguments = {"out": out.tensor, "x": x, "weight": weight, "bias": bias, "settings": settings}
    name = f"{rows} rows, {inputs} to {outputs}, {short(dtype)}"
    return cases.Case(name, arguments | {"residual": residual}, [out])


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """`random_case`."""
    return random_case(np.random.default_rng([5, seed]), dtype, product)

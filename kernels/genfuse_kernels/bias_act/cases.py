"""Generated calls of `bias_act`: any sizes, axis and activation, with any of the tensors beside x."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.bias_act import reference, spec
from genfuse_kernels.bias_act.spec import ACTIVATIONS, Settings
from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import double, output, short, smallest

SHAPES = (
    (3,), (0, 4), (5, 3), (4, 70), (2, 600), (2, 3, 5), (3, 5, 4, 7), (2, 17, 1, 1), (2, 4, 30, 41), (1, 1, 3, 3),
    (2, 40, 5, 6), (2, 3, 2, 4, 3),
)  # fmt: skip


class Call(NamedTuple):
    """Arguments of a call beside x's memory."""

    x: Tensor
    bias: Tensor | None
    scale: Tensor | None
    noise: Tensor | None
    settings: Settings

    @property
    def tensors(self) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        return self.x, self.bias, self.scale, self.noise

    @property
    def magnitude(self) -> Tensor:
        """|x·scale| + |noise| + |bias|, at least 1."""
        absolute: list[Any] = [None if t is None else t.double().abs() for t in self.tensors]
        plain = self.settings._replace(activation="none", gain=1.0, clamp=None)
        return reference.bias_act(absolute[0], absolute[1], absolute[2], absolute[3], plain).clamp(min=1)


def generated(seed: int, dtype: torch.dtype) -> Call:
    """Any sizes, axis, activation and tensors beside x."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Tensor:
        values = torch.from_numpy(np.asarray(rng.standard_normal(shape))).float()
        return values.to(dtype) if rng.random() < 0.5 else values

    shape = SHAPES[seed % len(SHAPES)]
    dim = int(rng.integers(len(shape)))
    per_sample = len(shape) > 1 and rng.random() < 0.6
    if per_sample:
        dim = 1
    settings = Settings(
        dim,
        ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))],
        float(rng.choice([0.2, 1.5, 0.0, -0.3])),
        float(rng.choice([1.0, 2**0.5, -0.7])),
        [None, 0.9, 0.0, 256.0][int(rng.integers(4))],
    )
    batch = shape[0] if rng.random() < 0.5 else 1
    return Call(
        normal(*shape).to(dtype) * 3,
        normal(shape[dim]) if rng.random() < 0.7 else None,
        normal(*shape[:2]) if per_sample and rng.random() < 0.7 else None,
        normal(batch, 1, *shape[2:]) if per_sample and rng.random() < 0.7 else None,
        settings,
    )


def expected(call: Call) -> tuple[Tensor, Tensor]:
    """The result in float64, and what each element may be off by."""
    wide: list[Any] = [double(t) for t in call.tensors]
    want = reference.bias_act(wide[0], wide[1], wide[2], wide[3], call.settings)
    of_value, of_result = spec.tolerance(call.x.dtype)
    allowed = of_value * abs(call.settings.gain) * call.magnitude + of_result * want.abs()
    return want, allowed + smallest(call.x.dtype)


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """x and out dense, as the op's own checks make them."""
    call = generated(seed, dtype)
    want, allowed = expected(call)
    out = output("out", want, allowed, dtype)
    arguments: dict[str, Any] = {"out": out.tensor, **call._asdict()}
    return cases.Case(f"{tuple(call.x.shape)} {short(dtype)}, {call.settings}", arguments, [out])

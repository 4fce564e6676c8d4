"""A call of `conv_norm_act` as `torch.library` sees it: a flat list of arguments."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors

TENSORS = (
    "skip",
    "norm_weight",
    "norm_bias",
    "running_mean",
    "running_var",
    "stats",
    "film_scale",
    "film_shift",
    "shift",
    "residual",
    "residual_weight",
    "residual_skip",
    "seeds",
)
"""The optional tensors beside x, weight and bias, in order."""

NAMES = ("x", "weight", "bias", *TENSORS)

SCHEMA = (
    ", ".join(f"Tensor? {name}" for name in TENSORS)
    + ", int[2] stride, int[2] padding, int[2] extra_padding, int[2] dilation, int groups, bool transposed, "
    "int[2] output_padding, str padding_mode, int[2] upsample, str norm, int num_groups, float eps, str activation, "
    "float negative_slope, float dropout, int dropout_stream, float scale, str out_activation, int[2] pool, "
    "str? accuracy"
)
"""The optional tensors and the settings."""


class Call(NamedTuple):
    """The op's arguments, sorted."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    settings: Settings
    tensors: UnitTensors
    return_stats: bool

    @classmethod
    def of(cls, arguments: tuple[Any, ...]) -> Call:
        """From the arguments of the op."""
        x, weight, bias, *rest, return_stats = arguments
        tensors: Any = dict(zip(TENSORS, rest, strict=False))
        settings = Settings._make(tuple(v) if isinstance(v, list) else v for v in rest[len(TENSORS) :])
        return cls(x, weight, bias, settings, tensors, return_stats)

    @property
    def inputs(self) -> tuple[Tensor | None, ...]:
        """By `NAMES`."""
        given: Any = self.tensors
        return (self.x, self.weight, self.bias, *(given.get(name) for name in TENSORS))

    def measuring(self) -> Call:
        """The call whose norm measures by itself."""
        return self._replace(tensors={**self.tensors, "stats": None})

"""What a launcher of each op is called with: one line an op, from which headers, memory and checks follow.

`name` is a tensor; behind it `?` where it may be absent, `!` where it is written, `:kind` for another kind:

    tensors   a list of them              rows      int, or int64 (N,): a row of the table a sample
    int, float, bool                      pair, quad   two and four ints; `pairs`: a list of such
    ints      a list of ints              settings  the op's settings, a named tuple of numbers and names

What stands behind `*` is given by name. The mathematics is in `genfuse_kernels/<op>/spec.py`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast, get_args

from genfuse.names import check_name

Kind = Literal["tensor", "tensors", "rows", "int", "float", "bool", "pair", "quad", "ints", "settings"]

_NORM = "norm_weight? norm_bias? running_mean? running_var? stats? film_scale? film_shift? residual? seeds?"

_LINES = {
    "attention": "out! q k v scale:float",
    "bias_act": "out! x bias? scale? noise? settings:settings",
    "clip_grad_norm": "norm! gradients!:tensors max_norm:float only_finite:bool",
    "clip_weights": "parameters!:tensors bound:float",
    "conv_norm_act": "out! stats_out!? x weight bias? settings:settings * "
    f"{_NORM} skip? shift? residual_weight? residual_skip?",
    "ema_update": "averages!:tensors parameters:tensors decay:float",
    "leaky_relu_tangent": "out! tangent mask negative_slope:float positive_slope:float=1",
    "linear": "out! x weight bias? settings:settings residual?",
    "norm_act": f"out! stats_out!? x settings:settings * {_NORM}",
    "norm_direction": "norms! direction! x",
    "norm_stats": "out! x",
    "norm_tangent": "out! x tangent weight? eps:float",
    "philox_lerp": "out! start? end? seed:int first:int",
    "philox_normal": "out! seeds row:rows stream:int",
    "sampler_reduce": "scales! x model_output table index:rows * uncond?",
    "sampler_step": "out! stored!? x model_output? table index:rows * uncond? variance? history!? noise? noise_prev? "
    "seeds? stream:int scales?",
    "spectral_norm": "normalised!:tensors sigmas! vectors! weights:tensors us!:tensors vs!:tensors dims:ints steps:int "
    "eps:float",
    "timestep_embedding": "out! t flip_sin_to_cos:bool downscale_freq_shift:float scale:float max_period:float",
    "upfirdn2d": "out! x f up:pair down:pair padding:quad flip_filter:bool gain:float",
}

_SETTINGS = {
    "bias_act": "genfuse_kernels.bias_act.spec",
    "conv_norm_act": "genfuse_kernels.conv_norm_act.settings",
    "linear": "genfuse_kernels.conv_norm_act.settings",
    "norm_act": "genfuse_kernels.conv_norm_act.settings",
}
"""Where an op's `Settings` are defined."""


class Argument(NamedTuple):
    """One of a launcher's."""

    name: str
    kind: Kind
    optional: bool
    written: bool
    by_name: bool
    default: float | None


@dataclass(frozen=True)
class Contract:
    """An op's launcher."""

    op: str
    arguments: tuple[Argument, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all arguments, in order."""
        return tuple(argument.name for argument in self.arguments)

    @property
    def lists(self) -> tuple[str, ...]:
        """Arguments that are lists of tensors."""
        return tuple(argument.name for argument in self.arguments if argument.kind == "tensors")

    @property
    def signature(self) -> str:
        """As Python writes it."""
        parts: list[str] = []
        for argument in self.arguments:
            if argument.by_name and "*" not in parts:
                parts.append("*")
            parts.append(argument.name)
        return f"def {self.op}({', '.join(parts)})"

    @property
    def text(self) -> str:
        """The contract in words: `spec`'s docstring."""
        return inspect.cleandoc(importlib.import_module(f"genfuse_kernels.{self.op}.spec").__doc__ or "")

    @property
    def settings(self) -> Any:
        """The op's class of settings."""
        return importlib.import_module(_SETTINGS[self.op]).Settings

    @property
    def dtypes(self) -> tuple[Any, ...]:
        """What its tensors may be of, on kernels."""
        found: tuple[Any, ...] = importlib.import_module(f"genfuse_kernels.{self.op}.spec").DTYPES
        return found

    def bound(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """A call's arguments by name; absent ones None."""
        given = dict(zip(self.names, arguments, strict=False)) | options
        return {each.name: given.get(each.name, each.default) for each in self.arguments}

    def misfit(self, function: Callable[..., Any]) -> str | None:
        """Why a Python function cannot be called as this op's launcher; None where it can."""
        parameters = inspect.signature(function).parameters
        kinds = [parameter.kind for parameter in parameters.values()]
        takes_all = inspect.Parameter.VAR_KEYWORD in kinds
        missing = [
            argument.name
            for argument in self.arguments
            if argument.name not in parameters and not (argument.by_name and takes_all)
        ]
        fixed = [argument.name for argument in self.arguments if not argument.by_name]
        unknown = [
            name
            for name, parameter in parameters.items()
            if name not in self.names
            and parameter.default is inspect.Parameter.empty
            and parameter.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        ]
        if missing:
            return f"it has no argument {', '.join(map(repr, missing))}"
        if unknown:
            return f"nobody gives its argument {', '.join(map(repr, unknown))}"
        if [name for name in parameters if name in fixed] != fixed:
            return f"its arguments are in another order than {', '.join(fixed)}"
        return None


def _argument(word: str, by_name: bool) -> Argument:
    word, _, default = word.partition("=")
    marked, _, kind = word.partition(":")
    assert kind in ("", *get_args(Kind)), word
    return Argument(
        marked.rstrip("!?"),
        cast(Kind, kind or "tensor"),
        "?" in marked,
        "!" in marked,
        by_name,
        float(default) if default else None,
    )


OPS: tuple[str, ...] = tuple(_LINES)


@functools.cache
def contract(op: str) -> Contract:
    """An op's. ValueError for a name that is none."""
    check_name("op", op, OPS)
    before, _, behind = _LINES[op].partition("*")
    arguments = [_argument(word, False) for word in before.split()]
    arguments += [_argument(word, True) for word in behind.split()]
    return Contract(op, tuple(arguments))

"""stylegan3's `torch_utils.ops.bias_act`, by `genfuse.ops.bias_act`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from genfuse import dispatch
from genfuse.names import check_name
from genfuse.ops.bias_act import bias_act as of_engine
from genfuse_kernels.bias_act import reference
from genfuse_kernels.bias_act.spec import Activation, Settings


class ActivationFunction(NamedTuple):
    """What stylegan3's networks ask an activation for.

    func       func(x, alpha) by PyTorch
    def_alpha  slope for negative x where none is given, of "lrelu"
    def_gain   factor of the result where none is given: it keeps the variance of what is normally distributed
    name       genfuse's own
    """

    func: Callable[..., Tensor]
    def_alpha: float
    def_gain: float
    name: Activation


def _activation(name: Activation, def_gain: float, def_alpha: float = 0.0) -> ActivationFunction:
    def func(x: Tensor, alpha: float = def_alpha, **_: object) -> Tensor:
        return reference.activated(x, Settings(activation=name, negative_slope=alpha))

    return ActivationFunction(func, def_alpha, def_gain, name)


activation_funcs = {
    "linear": _activation("none", 1.0),
    "relu": _activation("relu", 2**0.5),
    "lrelu": _activation("leaky_relu", 2**0.5, 0.2),
    "tanh": _activation("tanh", 1.0),
    "sigmoid": _activation("sigmoid", 1.0),
    "elu": _activation("elu", 1.0),
    "selu": _activation("selu", 1.0),
    "softplus": _activation("softplus", 1.0),
    "swish": _activation("silu", 2**0.5),
}
"""By stylegan3's names."""


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    impl: str = "cuda",
) -> Tensor:
    """act(x + b)·gain within ±clamp, b along axis `dim`: `genfuse.ops.bias_act`.

    act          a name of `activation_funcs`, whose defaults alpha and gain have where they are None
    impl         "cuda" lets genfuse choose the kernel, on any device; "ref" runs the op's definition

    Gradients of any order. ValueError or TypeError, naming the argument.
    """
    check_name("impl", impl, ("ref", "cuda"))
    of = activation_funcs[check_name("act", act, activation_funcs)]
    with dispatch.backend("reference" if impl == "ref" else None):
        return of_engine(
            x,
            b,
            dim=dim,
            activation=of.name,
            negative_slope=of.def_alpha if alpha is None else alpha,
            gain=of.def_gain if gain is None else gain,
            clamp=clamp,
        )

"""What the nodes of a graph of PyTorch calls mean to a unit: norms, activations, additions, with their arguments."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch.fx import Node

from genfuse.rewrite import synchronised
from genfuse_kernels.conv_norm_act.settings import Activation, Norm, PaddingMode, Pair

_PADS: tuple[Any, ...] = (F.pad, torch._C._nn.pad)  # the module's and the function's own call
_DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)
_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_SIGNATURES: dict[Callable[..., Any], tuple[str, ...]] = {
    **dict.fromkeys((torch.conv1d, torch.conv2d), _CONVOLUTION),
    **dict.fromkeys((torch.conv_transpose1d, torch.conv_transpose2d), _TRANSPOSED),
    operator.add: ("input", "other"),
    torch.add: ("input", "other", "alpha"),
    operator.mul: ("input", "other"),
    torch.mul: ("input", "other"),
    operator.truediv: ("input", "other"),
    torch.cat: ("tensors", "dim"),
    F.avg_pool1d: ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    F.avg_pool2d: (
        "input",
        "kernel_size",
        "stride",
        "padding",
        "ceil_mode",
        "count_include_pad",
        "divisor_override",
    ),
    torch.tanh: ("input",),
    torch.sigmoid: ("input",),
    torch.relu: ("input",),
    F.gelu: ("input", "approximate"),
    F.softplus: ("input", "beta", "threshold"),
    **dict.fromkeys(_PADS, ("input", "pad", "mode", "value")),
}


def arguments(node: Node) -> dict[str, Any] | None:
    """A call's arguments by name; None where the function is not known here, or what it reads or makes is edited."""
    target: Any = node.target
    if not is_settled(node) or "out" in node.kwargs:
        return None
    if node.op == "call_method" and target in ("relu", "tanh", "sigmoid", "add", "mul", "div"):
        names: tuple[str, ...] = ("input", "other")
    elif node.op != "call_function":
        return None
    elif target in _SIGNATURES:
        names = _SIGNATURES[target]
    else:
        try:
            names = tuple(inspect.signature(target).parameters)
        except (TypeError, ValueError):
            return None
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def value(node: Any) -> Any:
    """The fake tensor that a node stands for, or None."""
    found = node.meta.get("example_value") if isinstance(node, Node) else None
    return found if isinstance(found, torch.Tensor) else None


def shape(node: Any) -> tuple[int, ...] | None:
    """Of a tensor whose sizes are all known."""
    tensor = value(node)
    if tensor is None or not all(isinstance(size, int) for size in tensor.shape):
        return None
    return tuple(tensor.shape)


def is_given(node: Node) -> bool:
    """Whether a tensor comes from outside the graph, as parameters do, and is not computed in every call."""
    return node.op in ("placeholder", "get_attr")


def memory(node: Node) -> int | None:
    """What tells the storage of a node's tensor from others."""
    tensor = value(node)
    is_strided = tensor is not None and tensor.layout == torch.strided
    return tensor.untyped_storage()._cdata if is_strided else None


def only_user(node: Node) -> Node | None:
    """The node that alone reads this one."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def is_number(given: Any) -> TypeGuard[int | float]:
    """Whether an argument is a number that is known, and no truth value."""
    return isinstance(given, (int, float)) and not isinstance(given, bool)


def alike(first: Any, second: Any) -> bool:
    """Whether two nodes are tensors of one known shape and dtype."""
    known = shape(first)
    return known is not None and known == shape(second) and value(first).dtype == value(second).dtype


def same_dtype(node: Any, source: Any) -> bool:
    """Whether a call kept its input's dtype, which autocast may change."""
    before, after = value(source), value(node)
    return before is not None and after is not None and bool(before.dtype == after.dtype)


def unsettle(node: Node) -> None:
    """Marks a call that reads or makes what is edited in place somewhere: it stays where it is, as it is."""
    node.meta["unsettled"] = True


def is_settled(node: Node) -> bool:
    """Whether a call may be moved, as far as edits in place go."""
    return "unsettled" not in node.meta


def switched_to(node: Node) -> bool | None:
    """Whether gradients are enabled from this call on, if it switches them."""
    return node.args[0] is not False if node.target is torch._C._set_grad_enabled else None


@dataclass(frozen=True)
class ActivationStep:
    """An activation, its input, and the slope of a leaky ReLU."""

    kind: Activation
    source: Node
    slope: float = 0.01


_PLAIN: dict[Any, Activation] = {
    F.relu: "relu",
    torch.relu: "relu",
    F.silu: "silu",
    F.tanh: "tanh",
    torch.tanh: "tanh",
    F.sigmoid: "sigmoid",
    torch.sigmoid: "sigmoid",
    "relu": "relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
}


def activation(node: Node) -> ActivationStep | None:
    """The activation that a node is, if it is one that a unit knows."""
    found = arguments(node)
    if found is None:
        return None
    target: Any = node.target
    source = found.get("input")
    if not isinstance(source, Node) or not same_dtype(node, source):
        return None
    if found.get("inplace"):
        return None
    if target in _PLAIN:
        return ActivationStep(_PLAIN[target], source)
    if target is F.leaky_relu:
        slope = found.get("negative_slope", 0.01)
        return ActivationStep("leaky_relu", source, float(slope)) if is_number(slope) else None
    if target is F.gelu:
        return ActivationStep("gelu" if found.get("approximate", "none") == "none" else "gelu_tanh", source)
    if target is F.softplus and found.get("beta", 1) == 1 and found.get("threshold", 20) == 20:
        return ActivationStep("softplus", source)
    return None


@dataclass(frozen=True)
class NormStep:
    """A normalisation and its input; the tensors are nodes or None."""

    kind: Norm
    source: Node
    eps: float
    num_groups: int = 1
    weight: Node | None = None
    bias: Node | None = None
    running_mean: Node | None = None
    running_var: Node | None = None
    stats: Node | None = None

    @property
    def tensors(self) -> dict[str, Node]:
        """Those that there are, by the names that a unit has for them."""
        named = {
            "norm_weight": self.weight,
            "norm_bias": self.bias,
            "running_mean": self.running_mean,
            "running_var": self.running_var,
            "stats": self.stats,
        }
        return {name: node for name, node in named.items() if node is not None}


def by_batch(input: torch.Tensor, weight: Any, bias: Any, eps: float) -> torch.Tensor:
    """Batch norm in training without what it remembers: `batch_norms.split_batch_norms`."""
    return F.batch_norm(input, None, None, weight, bias, True, 0.0, eps)


def norm(node: Node) -> NormStep | None:
    """The normalisation that a node is, if it is one that a unit knows."""
    found = arguments(node) if node.op == "call_function" else None
    if found is None or not same_dtype(node, found.get("input")):
        return None
    source, weight, bias = found["input"], found.get("weight"), found.get("bias")
    given = found.get("eps", 1e-5)
    if not is_number(given) or not is_number(found.get("num_groups", 1)):
        return None
    eps = float(given)
    if node.target is F.group_norm:
        return NormStep("group", source, eps, int(found["num_groups"]), weight, bias)
    if node.target is F.instance_norm and found.get("use_input_stats", True):
        if found.get("running_mean") is not None:
            return None  # they would have to be updated
        return NormStep("instance", source, eps, 1, weight, bias)
    if node.target is by_batch:
        return NormStep("batch", source, eps, 1, weight, bias)
    if node.target is synchronised.by_stats:
        return NormStep("batch", source, eps, 1, weight, bias, stats=found["stats"])
    if node.target is F.batch_norm and not found.get("training", False):
        mean, var = found.get("running_mean"), found.get("running_var")
        if mean is not None and var is not None:
            return NormStep("batch", source, eps, 1, weight, bias, mean, var)
    return None


_DRAWN_LIKE = (torch.rand_like, torch.randn_like, torch.bernoulli, "bernoulli", "normal_", "uniform_")


def draws(node: Node) -> bool:
    """Whether random numbers are drawn, which are dealt out in the order of an image's memory."""
    return node.target in _DRAWN_LIKE or (node.target in _DROPOUTS and unchanged(node) is None)


def unchanged(node: Node) -> Node | None:
    """The input of a node that hands it on: dropout that drops nothing, a cast to its dtype, a division by one.

    A division makes another tensor, though: what is returned may be told apart from its input by an edit.
    """
    if not is_settled(node):
        return None
    if node.op == "call_method" and node.target == "to" and len(node.args) == 2 and not node.kwargs:
        before, dtype = node.args
        same = isinstance(dtype, torch.dtype) and value(before) is not None and value(before).dtype == dtype
        return before if same and isinstance(before, Node) else None
    found = arguments(node)
    if found is None or not isinstance(found.get("input"), Node):
        return None
    if node.target in _DROPOUTS and (not found.get("training", True) or found.get("p", 0.5) == 0):
        source: Node = found["input"]
        return source
    factor = scaled(node)
    returned = any(user.op == "output" for user in node.users)
    if factor is None or factor[1] != 1 or returned or not alike(node, factor[0]):
        return None
    return factor[0]


def scaled(node: Node) -> tuple[Node, float] | None:
    """Source and factor of a multiplication with, or division by, a number."""
    found = arguments(node)
    if found is None or not isinstance(found.get("input"), Node):
        return None
    other = found.get("other")
    if not is_number(other):
        return None
    if node.target in (operator.mul, torch.mul, "mul"):
        return found["input"], float(other)
    if node.target in (operator.truediv, torch.div, "div") and other != 0 and "rounding_mode" not in found:
        return found["input"], 1.0 / float(other)
    return None


def added(node: Node) -> tuple[Node, Node] | None:
    """Both terms of a sum of tensors."""
    found = arguments(node)
    if found is None or node.target not in (operator.add, torch.add, "add"):
        return None
    first, second = found.get("input"), found.get("other")
    if found.get("alpha", 1) != 1 or not isinstance(first, Node) or not isinstance(second, Node):
        return None
    return first, second


LINEAR = (F.linear, torch._C._nn.linear)  # the module's and the function's own call


@dataclass(frozen=True)
class LinearStep:
    """A linear layer, its input, its weight (K, C) and its bias."""

    source: Node
    weight: Node
    bias: Node | None


def linear(node: Node) -> LinearStep | None:
    """The linear layer that a node is."""
    if node.op != "call_function" or node.target not in LINEAR or not is_settled(node):
        return None
    given = dict(zip(("input", "weight", "bias"), node.args, strict=False)) | node.kwargs
    source, weight, bias = given["input"], given["weight"], given.get("bias")
    if not isinstance(source, Node) or not isinstance(weight, Node) or len(shape(weight) or ()) != 2:
        return None
    return LinearStep(source, weight, bias) if bias is None or isinstance(bias, Node) else None


def doubled(node: Node) -> Node | None:
    """The input of a nearest-neighbour upsampling by 2."""
    found = arguments(node)
    if found is None or node.target is not F.interpolate or found.get("mode", "nearest") != "nearest":
        return None
    before, after = shape(found["input"]), shape(node)
    if before is None or after is None or len(before) not in (3, 4):
        return None
    source: Node = found["input"]
    return source if after[2:] == tuple(2 * size for size in before[2:]) else None


def halved(node: Node) -> Node | None:
    """The input of a pooling that averages each 2x2 pixels, or each two of a sequence."""
    found = arguments(node)
    if found is None or node.target not in (F.avg_pool1d, F.avg_pool2d):
        return None
    two, none = (2, (2,), [2], (2, 2), [2, 2]), (0, (0,), [0], (0, 0), [0, 0])
    same = found["kernel_size"] in two and found.get("stride", 2) in (*two, None, (), [])
    before = shape(found["input"])
    if not same or found.get("padding", 0) not in none or found.get("divisor_override") is not None:
        return None
    axes = 2 if node.target is F.avg_pool2d else 1
    if before is None or len(before) != axes + 2:
        return None
    if found.get("ceil_mode") and any(size % 2 for size in before[2:]):
        return None
    source: Node = found["input"]
    return source


def by_two(node: Node) -> Pair:
    """`Settings.upsample` and `Settings.pool` that double or halve this node's picture, or sequence."""
    return (2, 2) if len(shape(node) or ()) == 4 else (1, 2)


def joined(node: Node) -> tuple[Node, Node] | None:
    """The two inputs of a concatenation along the channels."""
    found = arguments(node)
    if found is None or node.target is not torch.cat:
        return None
    tensors, axes = found["tensors"], len(shape(node) or ())
    channels = axes in (3, 4) and found.get("dim", 0) in (1, 1 - axes)
    if not channels or len(tensors) != 2 or any(len(shape(t) or ()) != axes for t in tensors):
        return None
    if not all(same_dtype(node, tensor) for tensor in tensors):
        return None
    return tensors[0], tensors[1]


@dataclass(frozen=True)
class Padding:
    """As `Settings` has it."""

    source: Node
    padding: tuple[int, int]
    extra: tuple[int, int]
    mode: PaddingMode


def padded(node: Node) -> Padding | None:
    """A padding of columns, and rows, with what a convolution can put there itself."""
    found = arguments(node)
    if found is None or node.target not in _PADS:
        return None
    modes: dict[str, PaddingMode] = {"constant": "zeros", "reflect": "reflect", "circular": "circular"}
    mode, pad = modes.get(found.get("mode", "constant")), found["pad"]
    axes = len(shape(found["input"]) or ()) - 2
    if (
        mode is None
        or axes not in (1, 2)
        or len(pad) not in (2, 2 * axes)
        or not all(isinstance(side, int) for side in pad)
        or min(pad) < 0
        or found.get("value")
    ):
        return None
    left, right, top, bottom = (*pad, 0, 0)[:4]
    return Padding(found["input"], (top, left), (bottom - top, right - left), mode)

"""Every function that has a tangent rule, in use: what it is called with, and under which of PyTorch's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Use = Callable[[Tensor, Tensor], Any]
"""Of h (N, 4, 6, 6), which depends on the point, and w (4, 6, 6), which is a weight; what it returns has N first."""

FUNCTIONS: dict[str, Use] = {}

ROOMS: dict[str, Any] = {"torch": torch, "Tensor": Tensor, "F": F}


def case(
    name: str, prepare: Callable[[Tensor], Tensor], args: tuple[Any, ...], named: dict[str, Any], rooms: str
) -> None:
    """The function under each of its names; what edits, on a copy and on a view of one."""
    shown = ", ".join(
        ["" if isinstance(one, Tensor) else str(one) for one in args] + [f"{k}={v}" for k, v in named.items()]
    )
    for room in rooms.split():
        function = getattr(ROOMS[room], name, None)
        if function is None:
            continue

        def use(h: Tensor, w: Tensor, function: Any = function) -> Any:
            x = prepare(h)
            given = tuple(w if one is WEIGHT else x.flip(1) if one is OTHER else one for one in args)
            if not name.endswith("_"):
                return function(x, *given, **named)
            copy = function(x * 1.0, *given, **named)
            view = function((x.sin() * 1.0).flatten(1).view(x.shape), *given, **named)
            return copy + 0.5 * view

        FUNCTIONS[f"{room}.{name}({shown})"] = use


WEIGHT, OTHER = "the weight", "another live tensor"


def plain(h: Tensor) -> Tensor:
    return h


def positive(h: Tensor) -> Tensor:
    return h.square() + 0.5


def cases(
    names: str,
    *args: Any,
    prepare: Callable[[Tensor], Tensor] = plain,
    rooms: str = "torch Tensor F",
    **named: Any,
) -> None:
    for name in names.split():
        case(name, prepare, args, named, rooms)


# activations
cases(
    "relu relu_ relu6 sigmoid sigmoid_ tanh tanh_ silu mish gelu softplus logsigmoid elu elu_ selu selu_ glu"
)
cases("celu celu_ softsign tanhshrink hardshrink softshrink")
cases("hardswish", prepare=lambda h: 3 * h)
cases("leaky_relu leaky_relu_", 0.2)
cases("hardtanh hardtanh_", -0.4, 0.5)
cases("gelu", approximate="tanh")
cases("softplus", 2.0, 0.5)
cases("elu", 0.7)
cases("celu", 0.5, rooms="F")  # whose 1/α PyTorch's gradient rounds to float32
cases("hardshrink softshrink", 0.2)
cases("threshold threshold_", 0.1, 0.3)
cases("glu", 1)
FUNCTIONS["edits by a flag"] = lambda h, w: _by_a_flag(h.flatten(1)) + _by_a_flag(h.exp())
FUNCTIONS["prelu"] = lambda h, w: F.prelu(h, w[:, 0, 0])
FUNCTIONS["prelu of one"] = lambda h, w: torch.prelu(h, w[:1, 0, 0]) + h.prelu(w[:, 0, 1])
cases("softmax log_softmax", 1)
cases("softmin", 1)
cases("logsumexp", (1, 2), True)
FUNCTIONS["softmax of no named axis"] = lambda h, w: F.softmax(h) + F.log_softmax(h, None) + F.softmin(h)


def _by_a_flag(x: Tensor) -> Tensor:
    """By position and by name; `view` of what has none is a view itself."""
    total = F.silu((x * 1.0).view(3, -1), True) * F.relu((x * 1.0).view(3, -1), inplace=True)
    for function in (F.leaky_relu, F.hardtanh, F.elu, F.selu, F.relu6, F.mish, F.celu, F.hardswish):
        total = total + function((x * 1.0).view(3, -1), inplace=True).sin()
    return total


# element by element
cases("add add_ sub sub_ subtract mul mul_ multiply div true_divide divide", OTHER, prepare=positive)
cases("add add_ sub sub_ subtract mul mul_ multiply div div_ true_divide divide", WEIGHT)
cases("add sub", 3.0, alpha=0.5)
cases("add sub", OTHER, alpha=0.5)
cases("rsub", OTHER)
cases("neg negative square abs absolute")
cases("exp expm1 exp2 sin cos sinh cosh atan arctan erf")
cases("tan", prepare=torch.tanh)
cases("sqrt rsqrt reciprocal log log1p log2 log10", prepare=positive)
FUNCTIONS["steps"] = lambda h, w: sum(
    h * (getattr(torch, name)(3 * h) + getattr(3 * h, name)())
    for name in ["sign", "floor", "ceil", "round", "trunc"]
)
cases("pow", 3)
cases("pow", 2.0)
FUNCTIONS["pow of 0"] = lambda h, w: torch.pow(h, 0) * h
cases("pow", -0.5, prepare=positive)
cases("pow", OTHER, prepare=positive)
cases("pow", WEIGHT, prepare=positive)
FUNCTIONS["powers of constants"] = lambda h, w: 2**h + torch.pow(0.7, h) + torch.pow(w.square() + 0.5, h)
FUNCTIONS["pow of 0 and 1"] = lambda h, w: h * torch.pow(h, (w > 0).double())
cases("clamp clamp_ clip", -0.4, 0.5)
cases("clamp", max=0.3)
cases("clamp_min clamp_max", 0.1)
cases("maximum minimum", OTHER)
cases("maximum minimum", WEIGHT)
cases("lerp", OTHER, 0.3)
cases("lerp", WEIGHT, 0.3)
cases("addcmul", OTHER, WEIGHT, value=0.5)
FUNCTIONS["operators"] = lambda h, w: 1 - 2.0 / (3 + h * h) + w * h**2 - h / 2 + 0.5 * (-h)
FUNCTIONS["in place"] = lambda h, w: _in_place(h * 1.0, w)
FUNCTIONS["where"] = lambda h, w: torch.where(h > 0, h.sin(), w) + torch.where(w > 0, 1.0, h)
FUNCTIONS["Tensor.where"] = lambda h, w: h.where(h > 0.1, w)
FUNCTIONS["masked_fill"] = lambda h, w: h.masked_fill(w > 0, 0.5) + torch.masked_fill(h, w < 0, 0.0)
FUNCTIONS["masked_fill_"] = lambda h, w: (h * 1.0).masked_fill_(w > 0, 0.5)
FUNCTIONS["quotient of a weight"] = lambda h, w: w / (h.square() + 1)


def _in_place(x: Tensor, w: Tensor) -> Tensor:
    x += w
    x -= 0.1
    x *= w
    x /= 3
    return x


# products
cases("matmul", OTHER)
cases("matmul", WEIGHT)
FUNCTIONS["@"] = lambda h, w: h @ w + w @ h + h @ h.mT
FUNCTIONS["linear"] = lambda h, w: F.linear(h, w[0], w[1, 0])
FUNCTIONS["linear of live weights"] = lambda h, w: (
    F.linear(h[0], h[0, 0], h[0, 1, 0]).sum() + F.linear(h, w[0])
)
FUNCTIONS["mm"] = lambda h, w: (
    torch.mm(h.flatten(1), w.reshape(144, 1)) + h.flatten(1).mm(h.flatten(1).t()).sum(1, True)
)
FUNCTIONS["bmm"] = lambda h, w: (
    torch.bmm(h.flatten(2), h.flatten(2).mT) + h[:, 0].bmm(h[:, 1]).sum((1, 2), True)
)
FUNCTIONS["mv"] = lambda h, w: torch.mv(h.flatten(1), w.flatten()) + h.flatten(1).mv(w.flatten())
FUNCTIONS["dot"] = lambda h, w: (
    h.flatten(1).sum(1) * torch.dot(h.flatten(), h.flatten()) * h[0].flatten().dot(w.flatten())
)
FUNCTIONS["einsum"] = lambda h, w: torch.einsum("nchw,nkhw,chw->nck", h, h, w) + F.normalize(h)[:, :, :4, 0]
FUNCTIONS["einsum of a list"] = lambda h, w: torch.einsum("nchw,chw->nhw", [h, w])
FUNCTIONS["bilinear"] = lambda h, w: (
    F.bilinear(h, h.flip(1), w, w[:, 0, 0]) + torch.bilinear(h, w.expand(h.shape), w)
)
cases("cosine_similarity", OTHER, rooms="torch F")
FUNCTIONS["cosine_similarity of a weight"] = lambda h, w: F.cosine_similarity(h[:, :, :1], w, dim=3)
FUNCTIONS["addmm"] = lambda h, w: (
    torch.addmm(w[0, 0], h[:, 0, 0], w[1]) + h[:, 1, 1].addmm(h[:, 0, 0], w[1], beta=0.5, alpha=2)
)
FUNCTIONS["baddbmm"] = lambda h, w: (
    torch.baddbmm(h[:, 0], h[:, 1], h[:, 2]) + h[:, 0].baddbmm(h[:, 1], h[:, 3])
)
FUNCTIONS["addbmm"] = lambda h, w: (
    h.flatten(1) * torch.addbmm(w[0], h[:, 1], h[:, 2]).sum() * w[0].addbmm(h[:, 1], h[:, 3]).sum()
)
FUNCTIONS["addmv"] = lambda h, w: (
    torch.addmv(w[0, 0, :1], h[:, 0, 0], w[1, 0]) + h[:, 0, 0, 0].addmv(h[:, 0, 0], w[1, 0])
)
for axes in (1, 2, 3):
    FUNCTIONS[f"conv{axes}d"] = lambda h, w, axes=axes: _convolved("conv", h, w, axes)
    FUNCTIONS[f"conv_transpose{axes}d"] = lambda h, w, axes=axes: _convolved("conv_transpose", h, w, axes)


def _convolved(kind: str, h: Tensor, w: Tensor, axes: int) -> Tensor:
    """With weights that are constant, that depend on the point, and both depending on it."""
    convolve: Any = getattr(F, f"{kind}{axes}d")
    x = h.flatten(2) if axes == 1 else h if axes == 2 else h.unsqueeze(2).expand(-1, -1, 3, -1, -1)
    still = w[:, :4, :3].reshape(4, 4, 3, *(1,) * (axes - 1))
    live = h[0, :, :4, :3].reshape(4, 4, 3, *(1,) * (axes - 1))
    y = convolve(x, still, w[:, 0, 0], stride=2, padding=1) + convolve(
        x, live, h[1, :, 0, 0], stride=2, padding=1
    )
    constant = convolve(torch.ones_like(x), live, None, 2, 1)
    return y + constant


# norms
FUNCTIONS["layer_norm"] = lambda h, w: F.layer_norm(h, [4, 6, 6], w, w) + torch.layer_norm(h, [6])
FUNCTIONS["rms_norm"] = lambda h, w: F.rms_norm(h, [4, 6, 6], w) + torch.rms_norm(h, [6], eps=0.1)
FUNCTIONS["group_norm"] = lambda h, w: (
    F.group_norm(h, 2, w[:, 0, 0], w[:, 0, 1]) + F.group_norm(h, 1, eps=0.1)
)
FUNCTIONS["instance_norm"] = lambda h, w: F.instance_norm(h, weight=w[:, 0, 0], bias=w[:, 0, 1], eps=0.1)
FUNCTIONS["instance_norm by running statistics"] = lambda h, w: F.instance_norm(
    h, torch.zeros(4).double(), torch.full((4,), 2.0).double(), w[:, 0, 0], use_input_stats=False
)
FUNCTIONS["batch_norm"] = lambda h, w: F.batch_norm(h, None, None, w[:, 0, 0], w[:, 0, 1], True)
FUNCTIONS["batch_norm by running statistics"] = lambda h, w: F.batch_norm(
    h, torch.zeros(4).double(), torch.full((4,), 2.0).double(), w[:, 0, 0]
)

# reductions
cases("sum mean var std amax amin logsumexp", (2, 3))
cases("sum mean var std amax amin", (1, 3), keepdim=True)
cases("var std", (1, 2), correction=0)
cases("var std", 1, False, True)
cases("cumsum prod", 2)
cases("prod", 1, True)
FUNCTIONS["prod with zeros"] = lambda h, w: (
    (h * torch.tensor([0, 1, 0, 1, 1, 1])).prod(3) + (h * (w > -1)).prod(2)
)
FUNCTIONS["prod of all"] = lambda h, w: (
    h.flatten(1) * torch.prod(h[:, :2, 0, 0]) * h[:, :, :0].prod(2)[:, :1, 0]
)
cases("norm", 2, 1)
cases("normalize", dim=2)
cases("max min", 2)
cases("max min", 1, True)
FUNCTIONS["of all"] = lambda h, w: (
    h.flatten(1) * h.sum() * h.mean() * h.var() * h.std() * h.max() * torch.min(h) * h.amax() * h.norm()
)
FUNCTIONS["biased, of all"] = lambda h, w: h.flatten(1) * h.var(False) * torch.std(h, unbiased=False)
FUNCTIONS["var_mean"] = lambda h, w: (
    sum(torch.var_mean(h, (2, 3), correction=0)) + sum(torch.std_mean(h, dim=(2, 3)))
)
FUNCTIONS["vector_norm"] = lambda h, w: torch.linalg.vector_norm(h, dim=(1, 2)) + torch.linalg.vector_norm(h)

# pooling and resampling
cases("avg_pool2d adaptive_avg_pool2d", 3, rooms="F")
cases("max_pool2d", 3, 2, 1, rooms="F")
cases("adaptive_max_pool2d", 2, rooms="F")
for axes in (1, 3):
    FUNCTIONS[f"pools {axes}"] = lambda h, w, axes=axes: _pooled(
        h.flatten(2) if axes == 1 else h[:, None], axes
    )
FUNCTIONS["interpolate"] = lambda h, w: (
    F.interpolate(h, scale_factor=2)
    + F.interpolate(h, (12, 12), mode="bilinear")
    + F.interpolate(h, 12, mode="bicubic")
)
FUNCTIONS["grid_sample"] = lambda h, w: F.grid_sample(
    h, torch.rand(h.shape[0], 3, 3, 2).double(), align_corners=False
)


def _pooled(x: Tensor, axes: int) -> Tensor:
    f: Any = F
    average = getattr(f, f"avg_pool{axes}d")(x, 2) + getattr(f, f"max_pool{axes}d")(x, 2)
    sizes = average.shape[2:] if axes > 1 else average.shape[2]
    found: Tensor = (
        average
        + getattr(f, f"adaptive_avg_pool{axes}d")(x, sizes)
        + getattr(f, f"adaptive_max_pool{axes}d")(x, sizes)
    )
    return found


# what moves elements
cases("reshape view", (-1, 8, 18), rooms="Tensor")
cases("reshape", (-1, 144), rooms="torch")
cases("flatten", 1)
cases("unflatten", 1, (2, 2))
cases("squeeze ravel contiguous clone")
cases("unsqueeze", 1)
cases("transpose swapaxes movedim", 1, 2)
cases("permute", (0, 2, 3, 1))
cases("expand", -1, -1, 6, 6, rooms="Tensor")
cases("broadcast_to", (3, 4, 6, 6))
cases("repeat", 1, 2, 1, 1, rooms="Tensor")
cases("tile", (1, 2, 1))
cases("repeat_interleave", 2, 1)
cases("chunk", 2, 1)
cases("split", 2, 1)
cases("split tensor_split split_with_sizes", [1, 3], 1)
cases("unbind", 1)
cases("narrow", 1, 1, 2)
cases("select", 1, 2)
cases("diagonal", 0, 2, 3)
cases("flip", (1, 2))
cases("roll", 1, 2)
cases("rot90", 1, (2, 3))
cases("index_select", 1, torch.tensor([3, 0, 0]))
cases("gather", 1, torch.tensor([[[[1] * 6] * 6] * 2] * 3))
cases("take_along_dim", torch.tensor([[[[1] * 6] * 6] * 2] * 3), 1)
cases("tril triu")
cases("pixel_shuffle", 2)
cases("pixel_unshuffle", 3)
cases("channel_shuffle", 2)
cases("double cpu", rooms="Tensor")
cases("to type", torch.float64, rooms="Tensor")
cases("float", rooms="Tensor")
FUNCTIONS["t, T, mT"] = lambda h, w: h[:, 0, 0].t().T + h[:, 0, 0] + torch.t(h[:, 0, 0].mT)
FUNCTIONS["getitem"] = lambda h, w: (
    h[:, [0, 2], 1:, ::2] * h[..., None, 0][:, 0, :3].unsqueeze(1)[:, :, :1, :1] + h[:, :1, :1, :1]
)
FUNCTIONS["unfold, fold"] = lambda h, w: F.fold(F.unfold(h, 3), (6, 6), 3) + h.unfold(3, 1, 1)[..., 0]
FUNCTIONS["shaped as"] = lambda h, w: (
    h.view_as(h).reshape_as(h) + h[:, :1].expand_as(h) + w.expand_as(h) + h.type_as(w)
)
FUNCTIONS["joined"] = lambda h, w: (
    torch.cat([h, w.expand(h.shape), h * h], 1)
    + torch.concat([h, h, h], dim=1)
    + torch.concatenate((h, h, h), 1)
)
FUNCTIONS["stacked"] = lambda h, w: (
    torch.stack([h, w.expand(h.shape)], 1) + torch.hstack([h, h]).view(-1, 2, 4, 6, 6)
)
FUNCTIONS["vstack"] = lambda h, w: torch.vstack([h, h])[: h.shape[0]]
FUNCTIONS["pad"] = lambda h, w: F.pad(h, (1, 1, 2, 0), value=3.0) + F.pad(h, (1, 1, 2, 0), "reflect")

# composed
FUNCTIONS["dropout"] = lambda h, w: (
    F.dropout(h, 0.4) + torch.dropout(h, 0.3, True) + F.dropout(h, training=False)
)
FUNCTIONS["dropout in place"] = lambda h, w: (
    torch.dropout_(h * 1.0, 0.4, True) + F.dropout(h * 1.0, 0.2, True, True)
)
FUNCTIONS["dropout of channels"] = lambda h, w: (
    F.dropout2d(h, 0.4) + F.dropout1d(h.flatten(2), 0.4).view_as(h)
)
FUNCTIONS["feature dropout"] = lambda h, w: (
    torch.feature_dropout(h, 0.4, True) + F.dropout3d(h[:, :, None], 0.4)[:, :, 0]
)
FUNCTIONS["attention"] = lambda h, w: F.scaled_dot_product_attention(
    h, h.flip(1), h, is_causal=True, scale=0.7
)
FUNCTIONS["masked attention"] = lambda h, w: (
    F.scaled_dot_product_attention(h, h, h, w) + F.scaled_dot_product_attention(h, h, h, torch.eye(6).bool())
)
FUNCTIONS["multi-head attention"] = lambda h, w: F.multi_head_attention_forward(
    *(h[:, 0].transpose(0, 1) * scale for scale in (1.0, 0.5, 2.0)), 6, 2, w[:3].flatten(0, 1), w[3, :3].flatten(),
    None, None, False, 0.3, w[0], w[1, 0], True, need_weights=False,
)[0].transpose(0, 1)  # fmt: skip

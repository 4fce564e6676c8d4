"""`conv_norm_act` by the C++ kernels: csrc/conv_norm_act."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES
from genfuse_kernels.common.packed_weights import dense, is_passing, packed
from genfuse_kernels.common.widened import widened
from genfuse_kernels.conv_norm_act.settings import (
    ACTIVATIONS,
    PADDING_MODES,
    Accuracy,
    NormTensors,
    Pair,
    Settings,
    UnitTensors,
    kernel_size,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

_PLANAR, _CHANNELS_LAST = 0, 1
_BLOCK = 16

Image = tuple[int, int, int, int, int, int, int]


class Way(NamedTuple):
    """How a convolution is computed, beside what; any way gives the result within the settings' accuracy.

    kernel   which of those that `_cpu.Conv` has, 0 the one by rule
    rows     of a thread's piece of work (`genfuse_blocking` of csrc/conv_norm_act/params.h), 0 by rule
    shared   Winograd: 1 threads share one transformed input, -1 each has its own, 0 by rule
    """

    kernel: int = 0
    rows: int = 0
    shared: int = 0


BY_RULE = Way()


def conv_norm_act(
    out: Tensor,
    stats_out: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: Settings,
    *,
    way: Way = BY_RULE,
    **tensors: Unpack[UnitTensors],
) -> None:
    """Fill `out` and `stats_out`; see `spec`. Shapes, dtypes and devices are the caller's to check."""
    projects = tensors.get("residual_weight") is not None
    size = (x.shape[2], x.shape[3])
    conv = convolution(tuple(weight.shape), settings, x.dtype, size, _cpu.isa(), projects, way.kernel)
    weights = weights_for(conv, settings, weight)
    run(conv, weights, out, stats_out, x, bias, settings, way=way, **tensors)


def run(
    conv: _cpu.Conv,
    weights: Weights,
    out: Tensor,
    stats_out: Tensor | None,
    x: Tensor,
    bias: Tensor | None,
    settings: Settings,
    *,
    way: Way = BY_RULE,
    skip: Tensor | None = None,
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    stats: Tensor | None = None,
    film_scale: Tensor | None = None,
    film_shift: Tensor | None = None,
    shift: Tensor | None = None,
    residual: Tensor | None = None,
    residual_weight: Tensor | None = None,
    residual_skip: Tensor | None = None,
    seeds: Tensor | None = None,
) -> None:
    """One unit of this convolution."""
    s = settings
    x = readable(x)
    skip = None if skip is None else readable(skip)
    residual = None if residual is None else readable(residual)
    residual_skip = None if residual_skip is None else readable(residual_skip)
    projection = (
        None
        if residual_weight is None
        else packed(
            residual_weight, ("projection", s.groups), lambda dense: _pack_projection(dense, s.groups)
        )
    )
    channels = x.shape[1] + (0 if skip is None else skip.shape[1])
    of_norm: NormTensors = {
        "norm_weight": norm_weight,
        "norm_bias": norm_bias,
        "running_mean": running_mean,
        "running_var": running_var,
        "stats": stats,
        "film_scale": film_scale,
        "film_shift": film_shift,
        "seeds": seeds,
    }
    prologue, _held = prologue_of(s, channels, of_norm)
    wide_bias, wide_shift = widened(bias), widened(shift)
    epilogue = _epilogue(s, out.shape[1]).of(
        0 if wide_bias is None else wide_bias.data_ptr(),
        0 if wide_shift is None else wide_shift.data_ptr(),
        0 if stats_out is None else stats_out.data_ptr(),
        0 if projection is None else projection.data_ptr(),
    )
    conv.run(
        *read_by(x, skip),
        prologue,
        0 if weights.packed is None else weights.packed.data_ptr(),
        0 if weights.dense is None else weights.dense.data_ptr(),
        0 if weights.dense is None else DTYPE_CODES[weights.dense.dtype],
        epilogue,
        None if residual is None else image(residual),
        None if residual_skip is None else image(residual_skip),
        image(out),
        way.rows,
        way.shared,
    )


def read_by(x: Tensor, skip: Tensor | None) -> tuple[int, int, int, int, int, Image, Image | None]:
    """What every kernel of a unit is given first: dtype, threads, batch, height, width, x and skip, `readable` ones."""
    batch, _, height, width = x.shape
    threads = torch.get_num_threads()
    images = image(x), None if skip is None else image(skip)
    return DTYPE_CODES[x.dtype], threads, batch, height, width, *images


_READ = ("stats", "running_mean", "running_var", "norm_weight", "norm_bias", "film_scale", "film_shift")
"""Of the tensors that a prologue points to those in float32, in `_cpu.Prologue.of`'s order."""


def prologue_of(
    s: Settings, channels: int, tensors: NormTensors
) -> tuple[_cpu.Prologue, list[Tensor | None]]:
    """`genfuse_prologue` of csrc/conv_norm_act/params.h, and the tensors that it points to."""
    given: Any = tensors
    seeds = given.get("seeds")
    held = [widened(given.get(name)) for name in _READ]
    held.append(None if seeds is None else seeds.contiguous())
    strides = _sample_stride(given.get("norm_weight")), _sample_stride(given.get("norm_bias"))
    form = _prologue(s, channels, held[1] is not None, strides)
    return form.of(*[0 if tensor is None else tensor.data_ptr() for tensor in held]), held


@lru_cache(maxsize=4096)
def _prologue(s: Settings, channels: int, is_running: bool, strides: Pair) -> _cpu.Prologue:
    """Without tensors. Made once for a unit: naming its numbers takes as long as a small unit."""
    return _cpu.Prologue(
        kind=_norm_kind(s, is_running),
        groups={"instance": channels, "layer": 1}.get(s.norm, s.num_groups),
        centred=s.norm != "rms_pixel",
        activation=ACTIVATIONS.index(s.activation),
        slope=s.negative_slope,
        eps=s.eps,
        weight_stride=strides[0],
        bias_stride=strides[1],
        film_stride=channels,
        dropout=s.dropout,
        dropout_stream=s.dropout_stream,
    )


@lru_cache(maxsize=4096)
def _epilogue(s: Settings, channels: int) -> _cpu.Epilogue:
    """Without tensors, of this many output channels."""
    return _cpu.Epilogue(
        shift_stride=channels,
        scale=s.scale,
        activation=ACTIVATIONS.index(s.out_activation),
        slope=s.negative_slope,
        pool=s.pool,
    )


@lru_cache(maxsize=4096)
def convolution(
    weight_shape: tuple[int, ...],
    settings: Settings,
    dtype: torch.dtype,
    size: Pair,
    isa: str,
    projects: bool = False,
    way: int = 0,
) -> _cpu.Conv:
    """The convolution of a weight's shape on images of this dtype, height and width. ValueError where it has no output.

    isa       the instruction set in use, which the kernel depends on
    projects  the unit's residual has a weight
    way       which of the kernels that it has; 0 is the one by rule
    """
    s = settings
    pooled_phases = s.upsample == (2, 2) and 2 in s.pool  # folded ones are not pooled
    accuracy = _ACCURACIES["exact" if pooled_phases else s.accuracy]
    plain = not projects and s.dropout == 0 and s.pool[0] == s.pool[1]
    return _convolution(weight_shape, form(s), dtype, size, isa, accuracy, plain, way)


Form = tuple[object, ...]


def form(settings: Settings) -> Form:
    """The settings that make a convolution what it is; not those that a training or sampling loop changes."""
    s = settings
    return (
        s.stride,
        s.padding,
        s.extra_padding,
        s.dilation,
        s.output_padding,
        s.upsample,
        s.groups,
        s.transposed,
        PADDING_MODES.index(s.padding_mode),
    )


_ACCURACIES: dict[Accuracy | None, int] = {"fast": 0, "exact": 1, None: 2}
"""`genfuse_accuracy` of csrc/conv_norm_act/params.h."""


@lru_cache(maxsize=4096)
def _convolution(
    weight_shape: tuple[int, ...],
    form: Any,
    dtype: torch.dtype,
    size: Pair,
    isa: str,
    accuracy: int,
    plain: bool,
    way: int,
) -> _cpu.Conv:
    stride, padding, extra_padding, dilation, output_padding, upsample, groups, transposed, mode = form
    first, second = weight_shape[:2]
    return _cpu.Conv(
        in_channels=first if transposed else second * groups,
        out_channels=second * groups if transposed else first,
        groups=groups,
        kernel=kernel_size(weight_shape),
        stride=stride,
        padding=padding,
        extra_padding=extra_padding,
        dilation=dilation,
        output_padding=output_padding,
        transposed=transposed,
        padding_mode=mode,
        upsample=upsample,
        dtype=DTYPE_CODES[dtype],
        height=size[0],
        width=size[1],
        accuracy=accuracy,
        plain=plain,
        way=way,
    )


def ways(
    out: Tensor,
    stats_out: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: Settings,
    **tensors: Unpack[UnitTensors],
) -> dict[str, Way]:
    """The kernels that this call could run on, by name, the one by rule first."""
    projects = tensors.get("residual_weight") is not None
    found: dict[str, Way] = {}
    count = 1
    while len(found) < count:
        number = len(found)
        conv = convolution(
            tuple(weight.shape),
            settings,
            x.dtype,
            (x.shape[2], x.shape[3]),
            _cpu.isa(),
            projects,
            number,
        )
        count = conv.ways
        found[f"{conv.algorithm} {conv.product}"] = Way(number)
    return found


def finer(name: str, way: Way) -> dict[str, Way]:
    """A kernel's ways to cut up the work."""
    shares = (-1, 1) if name.startswith("winograd") else (0,)
    return {
        f"{name}, {rows} rows a unit{_SHARES[shared]}": way._replace(rows=rows, shared=shared)
        for rows in _ROWS
        for shared in shares
    }


_ROWS = (1, 2, 4, 8, 16)
_SHARES = {-1: "", 0: "", 1: ", input shared"}


class Weights(NamedTuple):
    """A convolution's, as it packs them, or as they are: then they are packed while it runs."""

    packed: Tensor | None
    dense: Tensor | None


NO_WEIGHTS = Weights(None, None)
"""Of a unit without a convolution."""


def weights_for(conv: _cpu.Conv, settings: Settings, weight: Tensor) -> Weights:
    """Packed once and kept; those that train, as they are."""
    if is_passing():
        return Weights(None, dense(weight))
    key = form(settings), conv.algorithm, conv.product, _cpu.isa()  # all that they depend on but the weight
    return Weights(packed(weight, key, lambda made: _pack(conv, made)), None)


def _pack(conv: _cpu.Conv, weight: Tensor) -> Tensor:
    to = torch.empty(conv.packed_size, dtype=torch.float32, device="cpu")
    conv.pack(weight.data_ptr(), DTYPE_CODES[weight.dtype], to.data_ptr(), torch.get_num_threads())
    return to


def _pack_projection(weight: Tensor, groups: int) -> Tensor:
    """`genfuse_epilogue.projection` of csrc/conv_norm_act/params.h."""
    of_group = weight.to(torch.float32).reshape(groups, weight.shape[0] // groups, weight.shape[1])
    room = -of_group.shape[1] % _BLOCK
    blocks = F.pad(of_group, (0, 0, 0, room)).reshape(-1, _BLOCK, weight.shape[1])
    return blocks.transpose(1, 2).contiguous()


def projection_size(weight_shape: tuple[int, ...], groups: int) -> int:
    """Floats that the packed weights of a residual's projection take."""
    outputs, channels = weight_shape[:2]
    return groups * (-(outputs // groups) // _BLOCK * -_BLOCK) * channels


def _norm_kind(s: Settings, is_running: bool) -> int:
    """`genfuse_norm` of csrc/conv_norm_act/params.h."""
    if s.norm == "none":
        return 0
    if s.norm == "batch":
        return 1 if is_running else 2
    return 4 if s.norm in ("layer_pixel", "rms_pixel") else 3


def _sample_stride(tensor: Tensor | None) -> int:
    return tensor.shape[1] if tensor is not None and tensor.ndim == 2 else 0


def readable(x: Tensor) -> Tensor:
    """In a layout that the kernels read; a copy where it is in none."""
    return x if x.stride(3) == 1 or x.stride(1) == 1 else x.contiguous()


def image(x: Tensor) -> Image:
    """`genfuse_image` of csrc/common/image.h."""
    n, c, h, w = x.stride()
    # a picture of one column, or of one channel, is both
    layout = _CHANNELS_LAST if c == 1 and (w != 1 or x.shape[3] == 1) else _PLANAR
    return x.data_ptr(), layout, x.shape[1], n, c, h, w

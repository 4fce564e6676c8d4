"""Lists of tensors that an op changes in place in one call: what is asked of them, and how autograd hears of it.

A list has hundreds of tensors, many of them small. The usual call goes straight to the kernel (`directly`); the checks
that name a tensor, and the other backends, take their time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.errors import UnsupportedError
from genfuse.ops import check
from genfuse.ops.library import any_needs_dispatcher

_FLOATING = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_CPU = torch.device("cpu")
_EXCHANGE = getattr(Tensor, "__dlpack_c_exchange_api__", None)
_MOST_AXES = 15
"""Of a tensor that the C++ kernels take: GENFUSE_MAX_AXES, but for the one that stands for a batch."""


def listed(name: str, given: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The tensors of an argument, or the single one it is. TypeError for what is no list."""
    if isinstance(given, Tensor):
        return [given]
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping):
        return list(given)
    raise TypeError(f"{name} is {type(given).__name__}, expected tensors, as model.parameters() gives them")


def directly(op: str, lists: Sequence[list[Tensor]], *numbers: float | bool) -> Any:
    """The call by the C++ kernel where nothing about it is unusual, and what that returns; else False or None.

    The first list is changed. Tensors are read through DLPack's C interface, which PyTorch has from 2.10 on: a
    network's in less time than its pass takes. What is unusual goes the long way, where each tensor is asked and named.
    """
    if (
        _EXCHANGE is None
        or any(any_needs_dispatcher(given) for given in lists)
        or not dispatch.bypasses(op)
        or dispatch.obstacle(op, "cpu", _CPU, torch.float32) is not None
        or (not torch.is_inference_mode_enabled() and any(map(Tensor.is_inference, lists[0])))
    ):
        return None
    from genfuse_kernels import _cpu

    done = getattr(_cpu, f"{op}_directly")(_EXCHANGE, *lists, *numbers, torch.get_num_threads())
    if done is not None and done is not False:
        torch.autograd.graph.increment_version(lists[0])
    return done


def check_each(name: str, given: Sequence[Tensor]) -> None:
    """TypeError, naming the first that is not dense and floating."""
    for place, tensor in enumerate(given):
        check.dense(f"{name}[{place}]", tensor, "of float32, float64, bfloat16 or float16")
        if tensor.dtype not in _FLOATING:
            raise TypeError(
                f"{name}[{place}] has dtype {tensor.dtype}, expected float32, float64, bfloat16 or float16"
            )


def refuse_negatives(name: str, given: Sequence[Tensor]) -> None:
    """ValueError for a tensor to be changed whose memory does not hold its values."""
    for place, tensor in enumerate(given):
        check.not_negated(f"{name}[{place}]", tensor)


def refuse_gradients(op: str, name: str, given: Sequence[Tensor]) -> None:
    """UnsupportedError for a tensor of which autograd would have to record the change."""
    if not torch.is_grad_enabled():
        return
    for place, tensor in enumerate(given):
        if tensor.requires_grad:
            raise UnsupportedError(
                f"{op} works in place and has no gradient, but {name}[{place}] requires one; "
                "call it under torch.no_grad()"
            )


def begin_change(lists: Mapping[str, Sequence[Tensor]], changed: str) -> None:
    """Asks the memory of the lists whether `changed`, one of them, can be changed in place, and counts its versions up.

    Of the other lists a tensor may be the changed one of its own place, element for element. ValueError where one of
    the changed tensors overlaps itself or anything else, TypeError where one holds no values, RuntimeError, as in
    PyTorch, for inference tensors outside of inference mode.
    """
    for name, given in lists.items():
        for place, tensor in enumerate(given):
            check.valued(f"{name}[{place}]", tensor)
            if name == changed and tensor.is_inference() and not torch.is_inference_mode_enabled():
                raise RuntimeError(
                    f"{name}[{place}] is an inference tensor, which cannot be changed outside of inference "
                    "mode; pass a clone"
                )
    _refuse_overlaps(lists, changed)
    torch.autograd.graph.increment_version(lists[changed])


def _refuse_overlaps(lists: Mapping[str, Sequence[Tensor]], changed: str) -> None:
    """One pass over all stretches of memory in order: each may begin only where those it may not share have ended."""
    for place, tensor in enumerate(lists[changed]):
        if not tensor.is_contiguous() and check.overlaps_itself(tensor):
            raise ValueError(
                f"{changed}[{place}] overlaps itself in memory (strides {tensor.stride()}), expected a place for "
                "each element"
            )
    stretches = []
    for name, given in lists.items():
        for place, tensor in enumerate(given):
            if tensor.numel() == 0 or (name != changed and _same_memory(tensor, lists[changed][place])):
                continue
            stretches.append((*check.extent(tensor), name == changed, name, place))
    stretches.sort()
    reached = {True: (0, "", 0), False: (0, "", 0)}  # by whether it is changed: end, list and place
    for begin, end, writes, name, place in stretches:
        for other_writes, (until, other, other_place) in reached.items():
            if begin < until and (writes or other_writes):
                raise ValueError(
                    f"{name}[{place}] overlaps {other}[{other_place}] in memory, expected each tensor once; "
                    "pass a copy"
                )
        if end > reached[writes][0]:
            reached[writes] = (end, name, place)


def _same_memory(tensor: Tensor, other: Tensor) -> bool:
    return (
        tensor.data_ptr() == other.data_ptr()
        and tensor.dtype == other.dtype
        and tensor.stride() == other.stride()
    )


def limits(*lists: Sequence[Tensor]) -> dict[dispatch.Backend, str]:
    """Why our kernels do not take a call with these lists, whose tensors of one place go together."""
    devices = {tensor.device for given in lists for tensor in given}
    if len(devices) > 1:
        why = f"tensors are on {', '.join(sorted(map(str, devices)))}, expected one device"
        return {"cpu": why, "triton": why}
    for place, together in enumerate(zip(*lists, strict=True)):
        dtypes = {tensor.dtype for tensor in together}
        if torch.float64 in dtypes and len(dtypes) > 1:
            found = " and ".join(sorted(map(str, dtypes)))
            why = f"tensors {place} have dtypes {found}, expected both or neither float64"
            return {"cpu": why, "triton": why}
    most = max((tensor.ndim for given in lists for tensor in given), default=0)
    return {"cpu": f"a tensor has {most} axes, expected at most {_MOST_AXES}"} if most > _MOST_AXES else {}

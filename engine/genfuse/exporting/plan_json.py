"""A recorded plan as the JSON that csrc/network/plan.cpp reads."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor

from genfuse.errors import UnsupportedError
from genfuse.exporting.memory import Memory, Tensors
from genfuse.exporting.record import Recorded
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES

VERSION = 1
DTYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
}
"""Those that inputs and outputs may have, by the names of safetensors."""
_AXES = 6


def signature(recorded: Recorded, tensors: Tensors) -> dict[str, Any]:
    """One form of the inputs: arena, inputs, outputs, steps."""
    plan = recorded.plan
    memory = Memory(plan, tensors)
    steps = []
    for step in plan.steps:
        assert isinstance(step, tuple)
        steps += [
            _step(call, memory) for call in map(plan.program.described, range(*step)) if _recurs(call, memory)
        ]
    names = (
        ["output"] if len(recorded.outputs) == 1 else [f"output.{i}" for i in range(len(recorded.outputs))]
    )
    return {
        "arena": memory.arena_bytes,
        "inputs": [_port(name, held, memory) for name, (held, _) in recorded.inputs.items()],
        "outputs": [
            _port(name, held, memory) for name, (held, _) in zip(names, recorded.outputs, strict=True)
        ],
        "steps": steps,
    }


def tensor_entry(name: str, tensor: Tensor, data: bytes) -> dict[str, Any]:
    """What the plan says of a tensor of the file."""
    dtype = {**DTYPES, torch.uint8: "U8", torch.bool: "BOOL", torch.int32: "I32"}[tensor.dtype]
    return {"name": name, "dtype": dtype, "shape": list(tensor.shape), "crc32": zlib.crc32(data)}


def _recurs(call: tuple[str, dict[str, Any], list[Any]], memory: Memory) -> bool:
    """Whether every run has to make the call: small tensors are widened into memory of their own, weights once."""
    op, _, operands = call
    if op != "widen":
        return True
    (_, source, *_), (_, to, nbytes, _) = operands
    if memory.is_constant(source):
        return False
    memory.make(to, nbytes)
    return True


def _step(call: tuple[str, dict[str, Any], list[Any]], memory: Memory) -> dict[str, Any]:
    """`csrc/network/describe.h` says what a step of this op has."""
    op, numbers, operands = call
    step = {
        "op": op,
        **{key: value.hex() if isinstance(value, float) else value for key, value in numbers.items()},
    }
    for name, address, nbytes, written in operands:
        if not address:
            step[name] = None
        elif op == "conv_norm_act" and name == "weight":
            step[name], dtype = memory.weight(address)
            step["weight_dtype"] = DTYPE_CODES[dtype]
        else:
            step[name] = memory.place(address, nbytes)
            assert not (written and isinstance(step[name], list))
    return step


def _port(name: str, held: Tensor, memory: Memory) -> dict[str, Any]:
    held = held[None] if held.ndim == 0 else held
    if held.dtype not in DTYPES or held.ndim > _AXES or 0 in held.shape:
        raise UnsupportedError(
            f"{name} has dtype {held.dtype} and shape {tuple(held.shape)}, expected floating point or int64, "
            f"at most {_AXES} axes, and elements"
        )
    if held.is_neg() or held.is_conj():
        raise UnsupportedError(f"{name} is the conjugate or negative of what lies in memory")
    place = memory.place(held.data_ptr(), 0)
    if isinstance(place, list):
        raise UnsupportedError(f"{name} is a weight of the network, or the same in every call")
    return {
        "name": name,
        "dtype": DTYPES[held.dtype],
        "shape": list(held.shape),
        "strides": list(held.stride()),
        "at": place,
    }

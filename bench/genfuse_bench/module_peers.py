"""What runs a user's module on the CPU today, by name: PyTorch in several ways, graph runtimes, mobile runtimes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from genfuse import env
from genfuse_bench.graph_runtimes import onnxruntime_run, openvino_run
from genfuse_bench.mnn_runtime import mnn_run
from genfuse_bench.ncnn_runtime import ncnn_run
from genfuse_bench.workload import Inputs, Run, cast, channels_last, first

SINGLE, BOTH, HALF = (torch.float32,), (torch.float32, torch.bfloat16), (torch.bfloat16,)


@dataclass(frozen=True)
class ModulePeer:
    """A way to run a module: `prepare(module, inputs, dtype)` gives what is timed.

    Module and inputs are float32, with values that `dtype` holds; `prepare` may change the module. Of a unit, `bare`
    peers run the convolution alone.
    """

    name: str
    prepare: Callable[[nn.Module, Inputs, torch.dtype], Run]
    dtypes: tuple[torch.dtype, ...] = BOTH
    packages: tuple[str, ...] = ()
    bare: bool = False

    def missing(self) -> str | None:
        """Why it cannot be measured here; None where it can."""
        absent = [package for package in self.packages if not env.version(package)]
        return f"not installed: {', '.join(absent)}; pip install 'genfuse[peers]'" if absent else None


def _eager(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Run:
    module, given = module.to(dtype), cast(inputs, dtype)
    return Run(lambda: module(*given), first)


def _eager_channels_last(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Run:
    return _eager(_last(module), channels_last(inputs), dtype)


def _autocast(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Run:
    def call() -> Any:
        with torch.autocast("cpu", dtype):
            return module(*inputs)

    return Run(call, first)


def _autocast_channels_last(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Run:
    return _autocast(_last(module), channels_last(inputs), dtype)


def _compiled(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Run:
    inductor = importlib.import_module("torch._inductor.config")
    torch._dynamo.reset()
    module, given = module.to(dtype), cast(inputs, dtype)
    compiled = torch.compile(module, options={"freezing": True}, dynamic=False)
    with inductor.patch(freezing=True):
        compiled(*given)
    return Run(lambda: compiled(*given), first)


def _last(module: nn.Module) -> nn.Module:
    last: nn.Module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return last


MODULE_PEERS = {
    peer.name: peer
    for peer in (
        ModulePeer("eager", _eager),
        ModulePeer("eager channels-last", _eager_channels_last),
        ModulePeer("autocast", _autocast, HALF),
        ModulePeer("autocast channels-last", _autocast_channels_last, HALF),
        ModulePeer("compile", _compiled),
        ModulePeer("openvino", openvino_run, packages=("openvino",)),
        ModulePeer("onnxruntime", onnxruntime_run, SINGLE, ("onnxruntime", "onnx")),  # no bfloat16 on x86
        ModulePeer("ncnn", ncnn_run, SINGLE, ("ncnn", "pnnx"), bare=True),
        ModulePeer("mnn", mnn_run, SINGLE, ("MNN", "onnx"), bare=True),
    )
}

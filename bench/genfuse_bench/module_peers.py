"""What runs a user's module on the CPU today: PyTorch in three ways, OpenVINO, ONNX Runtime."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genfuse import env

Run = Callable[[], Tensor]
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class ModulePeer:
    """A way to run a module: `prepare` gives a call without arguments; `package` has to be installed."""

    name: str
    prepare: Callable[[nn.Module, Inputs], Run]
    package: str | None = None

    def missing(self) -> str | None:
        """Why it cannot be measured here; None where it can."""
        if self.package is None or env.version(self.package):
            return None
        return f"{self.package} is not installed; pip install 'genfuse[peers]'"


def channels_last(inputs: Inputs) -> Inputs:
    """Images in channels-last memory, everything else as it is."""
    return tuple(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs)


def _eager(module: nn.Module, inputs: Inputs) -> Run:
    return lambda: _first(module(*inputs))


def _eager_channels_last(module: nn.Module, inputs: Inputs) -> Run:
    last = channels_last(inputs)
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return lambda: _first(module(*last))


def _compiled(module: nn.Module, inputs: Inputs) -> Run:
    inductor = importlib.import_module("torch._inductor.config")
    torch._dynamo.reset()
    compiled = torch.compile(module, options={"freezing": True}, dynamic=False)
    with inductor.patch(freezing=True):
        compiled(*inputs)
    return lambda: _first(compiled(*inputs))


def _openvino(module: nn.Module, inputs: Inputs) -> Run:
    openvino = importlib.import_module("openvino")
    model = openvino.convert_model(module, example_input=inputs, input=[tuple(x.shape) for x in inputs])
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.compile_model(model, "CPU", settings)
    arrays = [x.numpy() for x in inputs]
    request = compiled.create_infer_request()
    return lambda: torch.from_numpy(request.infer(arrays, share_inputs=True, share_outputs=True)[0])


def _onnxruntime(module: nn.Module, inputs: Inputs) -> Run:
    runtime = importlib.import_module("onnxruntime")
    graph: Any = io.BytesIO()  # taken, though not declared
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, inputs, graph, dynamo=False)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(graph.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {slot.name: x.numpy() for slot, x in zip(session.get_inputs(), inputs, strict=True)}
    return lambda: torch.from_numpy(session.run(None, feed)[0])


def _first(output: Any) -> Tensor:
    """The tensor of an output: itself, or the first of a record."""
    first: Tensor = output if isinstance(output, Tensor) else output[0]
    return first


MODULE_PEERS = {
    peer.name: peer
    for peer in (
        ModulePeer("eager", _eager),
        ModulePeer("eager channels-last", _eager_channels_last),
        ModulePeer("compile", _compiled),
        ModulePeer("openvino", _openvino, "openvino"),
        ModulePeer("onnxruntime", _onnxruntime, "onnxruntime"),
    )
}

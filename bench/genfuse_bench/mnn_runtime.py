"""MNN, through its converter from ONNX."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genfuse_bench.graph_runtimes import onnx_graph
from genfuse_bench.workload import Inputs, Run


def mnn_run(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Run:
    """A session in float32, at its defaults; its inputs are already where it reads them."""
    mnn = importlib.import_module("MNN")
    names = [f"input{i}" for i in range(len(inputs))]
    interpreter = _interpreter(mnn, onnx_graph(module, inputs, names))
    settings = {"backend": "CPU", "numThread": torch.get_num_threads(), "precision": "high"}
    session = interpreter.createSession(settings)
    for name, x in zip(names, inputs, strict=True):
        interpreter.getSessionInput(session, name).copyFrom(_tensor(mnn, x))
    output = interpreter.getSessionOutput(session, "output")

    def read(_status: Any) -> Tensor:
        host = _tensor(mnn, torch.empty(output.getShape()))
        output.copyToHostTensor(host)
        return torch.from_numpy(host.getNumpyData().copy())

    return Run(lambda: interpreter.runSession(session), read)


def _interpreter(mnn: Any, graph: bytes) -> Any:
    convert = importlib.import_module("_tools").mnnconvert  # `MNN.tools.mnnconvert` sends its log elsewhere
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "module.onnx"), Path(folder, "module.mnn")
        source.write_bytes(graph)
        convert(["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(target)])
        if not target.exists():
            raise RuntimeError("mnnconvert does not take the module")
        return mnn.Interpreter(str(target))


def _tensor(mnn: Any, x: Tensor) -> Any:
    """A copy in MNN's memory, in the order of PyTorch's."""
    layout = mnn.Tensor_DimensionType_Caffe
    return mnn.Tensor(tuple(x.shape), mnn.Halide_Type_Float, x.contiguous().numpy(), layout)

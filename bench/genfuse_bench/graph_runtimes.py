"""OpenVINO and ONNX Runtime."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from genfuse_bench.workload import Inputs, Run


def openvino_run(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Run:
    """In float32, or with bfloat16 inside, as its precision hint has it."""
    openvino = importlib.import_module("openvino")
    model = openvino.convert_model(module, example_input=inputs, input=[tuple(x.shape) for x in inputs])
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
    }
    compiled = openvino.compile_model(model, "CPU", settings)
    arrays = [x.numpy() for x in inputs]
    request = compiled.create_infer_request()
    return Run(
        lambda: request.infer(arrays, share_inputs=True, share_outputs=True)[0],
        lambda array: torch.from_numpy(array.copy()),
    )


def onnxruntime_run(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Run:
    """Of the exported graph, with all of its optimisations."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    graph = onnx_graph(module, inputs)
    session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    feed = {slot.name: x.numpy() for slot, x in zip(session.get_inputs(), inputs, strict=True)}
    return Run(lambda: session.run(None, feed)[0], torch.from_numpy)


def onnx_graph(module: nn.Module, inputs: Inputs, names: Sequence[str] | None = None) -> bytes:
    """The module for these shapes, serialised; `names` of its inputs, "output" of its output."""
    graph: Any = io.BytesIO()  # taken, though not declared
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, inputs, graph, dynamo=False, input_names=names, output_names=["output"])
    exported: bytes = graph.getvalue()
    return exported

"""ncnn, through pnnx, its own converter."""

from __future__ import annotations

import importlib
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genfuse_bench.workload import Inputs, Run

CONVERTER_SECONDS = 120
"""It takes longer than that for the largest networks."""


def ncnn_run(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Run:
    """Its layers at their defaults, but in float32; a batch a sample at a time, ncnn's networks have none."""
    net = _net(module, tuple(x[:1] for x in inputs))
    names, output = net.input_names(), net.output_names()[0]
    matrix = importlib.import_module("ncnn").Mat
    # a matrix made of an array does not keep it
    samples = [
        [matrix(x.reshape(x.shape or (1,)).numpy()).clone() for x in sample]
        for sample in zip(*inputs, strict=True)
    ]

    def call() -> list[Any]:
        results = []
        for sample in samples:
            extractor = net.create_extractor()
            for name, value in zip(names, sample, strict=True):
                extractor.input(name, value)
            results.append(extractor.extract(output)[1])
        return results

    return Run(call, _batch)


def _batch(results: list[Any]) -> Tensor:
    return torch.from_numpy(np.stack([np.array(result) for result in results]))


def _net(module: nn.Module, inputs: Inputs) -> Any:
    pnnx, ncnn = importlib.import_module("pnnx"), importlib.import_module("ncnn")
    net = ncnn.Net()
    net.opt.num_threads = torch.get_num_threads()
    for setting in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(net.opt, setting, False)  # everyone is compared in float32
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(module, inputs, check_trace=False).save(f"{folder}/module.pt")  # type: ignore[no-untyped-call]
        shapes = ",".join(f"[{','.join(map(str, x.shape))}]f32" for x in inputs)
        # the program itself: the package's own function goes on to import what it generated, which fails for some
        command = [pnnx.EXEC_PATH, "module.pt", f"inputshape={shapes}", "fp16=0"]
        quiet = subprocess.DEVNULL
        subprocess.run(command, cwd=folder, stdout=quiet, stderr=quiet, timeout=CONVERTER_SECONDS, check=True)
        parameters, weights = Path(folder, "module.ncnn.param"), Path(folder, "module.ncnn.bin")
        if net.load_param(str(parameters)) or net.load_model(str(weights)):
            raise RuntimeError("ncnn does not load what pnnx made of the module")
    return net

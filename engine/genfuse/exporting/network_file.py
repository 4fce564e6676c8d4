"""`genfuse.export`: a network as a file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from genfuse.data.atomic import atomic_path
from genfuse.errors import UnsupportedError
from genfuse.exporting.memory import Tensors
from genfuse.exporting.network import Network
from genfuse.exporting.plan_json import VERSION, signature, tensor_entry
from genfuse.exporting.record import Example, Recorded, record

FORMAT = "genfuse-network"


def export(module: nn.Module, example_inputs: Example | Sequence[Example], path: str | Path) -> Path:
    """Writes the network's inference as a file that libgenfuse loads and runs without Python and PyTorch.

    module          a module on the CPU in eval mode, optimised or not; where PyTorch's calls would be left in it,
                    `genfuse.optimize` is tried
    example_inputs  the arguments of a call, in a tuple or a dict by name; a list of several such gives the file one
                    plan each: for other batch or picture sizes
    path            of the file, *.gfz by custom: safetensors, whose metadata holds the plan

    The file holds the weights as the module has them: they are packed for the processor that loads it. Its results are
    those of the plan in Python in reproducible mode, bit for bit on the same processor, which is tried before the file
    is put in its place. Returns the path.

    UnsupportedError where a call is left that only PyTorch has, naming each, or where the forward is more than one
    graph; ValueError for a module in training; TypeError for arguments that do not fit.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module is {type(module).__name__}, expected a torch.nn.Module")
    if module.training:
        raise ValueError("module is in training mode, expected eval(): dropout and batch norm differ")
    examples = example_inputs if isinstance(example_inputs, list) else [example_inputs]
    if not examples:
        raise ValueError("example_inputs is empty, expected the arguments of a call")
    forms = record(module, examples)
    named = {p.data_ptr(): name for name, p in (*module.named_buffers(), *module.named_parameters())}
    tensors = Tensors(named)
    signatures = [signature(form, tensors) for form in forms]
    path = Path(path)

    with atomic_path(path) as unfinished:
        unfinished.write_bytes(_file(tensors.tensors, signatures))
        _check(Network(unfinished), forms)
    return path


def _file(tensors: dict[str, Tensor], signatures: list[dict[str, object]]) -> bytes:
    entries = [
        tensor_entry(name, tensor, tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, tensor in tensors.items()
    ]
    plan = {
        "version": VERSION,
        "producer": f"genfuse {version('genfuse')}",
        "tensors": entries,
        "signatures": signatures,
    }
    text = json.dumps(plan, separators=(",", ":"))
    metadata = {"format": FORMAT, "plan_crc32": str(zlib.crc32(text.encode())), "plan": text}
    return save({name: tensor.clone() for name, tensor in tensors.items()}, metadata)


def _check(network: Network, forms: list[Recorded]) -> None:
    """UnsupportedError where the file does not do what was recorded."""
    for number, form in enumerate(forms):
        results = network.run(number, {name: given for name, (_, given) in form.inputs.items()})
        for (name, got), (_, want) in zip(results.items(), form.outputs, strict=True):
            if not torch.equal(_bits(got), _bits(want.contiguous().reshape(got.shape))):
                raise UnsupportedError(f"{name} of the exported network differs from the module's")


def _bits(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)

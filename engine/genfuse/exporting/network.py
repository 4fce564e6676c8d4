"""An exported network, run from Python by what the C library runs it with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64)


class Network:
    """The network of a file; its tensors are the file's, mapped into memory: it must stay as it is.

    ValueError for a file that is damaged, or no network: the message says what is wrong.
    """

    def __init__(self, path: str | Path) -> None:
        from genfuse_kernels import _cpu

        self._network = _cpu.Network(str(path), torch.get_num_threads())

    def __len__(self) -> int:
        """How many forms its inputs may have."""
        return len(self._network)

    def inputs(self, number: int = 0) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtype and shape of each input, of one of the forms."""
        return {name: (_DTYPES[dtype], tuple(shape)) for name, dtype, shape in self._network.inputs(number)}

    def outputs(self, number: int = 0) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Likewise."""
        return {name: (_DTYPES[dtype], tuple(shape)) for name, dtype, shape in self._network.outputs(number)}

    def __call__(self, **inputs: Tensor) -> Tensor | dict[str, Tensor]:
        """The output, or all by name where there are several; the inputs' shapes decide by which plan."""
        forms = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in inputs.items()}
        for number in range(len(self)):
            if self.inputs(number) == forms:
                results = self.run(number, inputs)
                return next(iter(results.values())) if len(results) == 1 else results
        known = "; ".join(str(self.inputs(number)) for number in range(len(self)))
        raise ValueError(f"inputs are {forms}, which the file has no plan for: expected {known}")

    def run(self, number: int, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of one plan by name."""
        given = [inputs[name].contiguous() for name in self.inputs(number)]
        made = {
            name: torch.empty(shape, dtype=dtype) for name, (dtype, shape) in self.outputs(number).items()
        }
        self._network.run(
            number,
            [(tensor.data_ptr(), tensor.nbytes) for tensor in given],
            [(tensor.data_ptr(), tensor.nbytes) for tensor in made.values()],
            torch.get_num_threads(),
        )
        return made


def load_network(path: str | Path) -> Network:
    """The network of a file that `genfuse.export` wrote."""
    return Network(path)

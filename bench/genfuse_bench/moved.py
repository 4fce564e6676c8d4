"""The memory that a kernel's launches touch, as it was recorded where they ran without a GPU.

Triton's under the interpreter (`tests/triton_proof/moved.py`), CUDA's on the host emulation
(`tests/cuda_proof/moved.py`): each a process of its own, which prints a line of JSON a kernel.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

SECTOR = 32
"""Bytes of a sector, the least that memory moves."""


@dataclass(frozen=True)
class Moved:
    """Of one kernel, in all its launches of one call.

    kernel     without "_kernel"; of CUDA the instantiation's words
    requested  bytes of all loads and stores, lane by lane
    touched    bytes of the sectors that a launch loads, each once, and of those that it stores
    minimum    bytes of the tensors that the kernel touches, each element of them once a direction
    flops      of a matrix product by its definition, else what the interpreter computed; 0: not counted
    call_touched  of all kernels of the call; call_minimum: of the tensors that the call was given or returned alone, so
               that what passes between its kernels through memory is beyond it
    """

    kernel: str
    case: str
    dtype: str
    blocks: int
    requested: int
    touched: int
    minimum: int
    flops: int
    call_touched: int
    call_minimum: int

    @property
    def figures(self) -> dict[str, int]:
        """What a card has of it."""
        return {
            name: value for name, value in asdict(self).items() if name not in ("kernel", "case", "dtype")
        }

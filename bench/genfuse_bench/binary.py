"""What a compiled kernel is, whichever assembler made it; kept on disk: `make cards` goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from genfuse_kernels.common.cache_directory import cache_directory


@dataclass(frozen=True)
class Binary:
    """Figures of one kernel's machine code.

    spill_bytes   stack bytes of a thread; local_bytes: bytes of local memory declared. Both 0, or it spills.
    local_accesses  load and store instructions on local memory
    tensor_core   matrix instructions, and which
    loads, stores instructions on global memory by bits that a thread moves
    read_only     loads of the read-only path, likewise: what CUDA kernels read a sample's row and seed with
    special       instructions of the special-function units (MUFU): exponentials, logarithms, roots, reciprocals; None:
                  of a committed card that is older than the column
    least_issued  instructions on the shortest way from the entry past a store to the end, least_special: the fewest
                  special ones on any; None: not known
    """

    registers: int
    spill_bytes: int
    local_bytes: int
    local_accesses: int
    shared_bytes: int
    tensor_core: int
    tensor_instruction: str
    loads: dict[str, int]
    stores: dict[str, int]
    read_only: dict[str, int]
    special: int | None
    instructions: int
    least_issued: int | None
    least_special: int | None


def kept(binary: bytes, read: Callable[[], Binary]) -> Binary:
    """`read()`, or what it found the last time, in ``$GENFUSE_CACHE/cards``; readers that changed read again."""
    readers = b"".join(
        (Path(__file__).parent / f"{name}.py").read_bytes() for name in ("binary", "sass", "amdgcn")
    )
    key = hashlib.sha256(readers + binary).hexdigest()[:32]
    path = cache_directory() / "cards" / f"{key}.json"
    if path.is_file():
        return Binary(**json.loads(path.read_text()))
    found = read()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{uuid.uuid4().hex}")
    temporary.write_text(json.dumps(asdict(found)))
    temporary.replace(path)
    return found

"""The cards of a Triton or CUDA kernel of one's own, compiled for GPUs that this machine need not have."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from genfuse.lab import check
from genfuse.lab.kernel_file import Source
from genfuse_bench.card import Card, triton_card

TARGETS = ("sm_80", "sm_90", "sm_100")


def show(source: Source, console: Console) -> list[str]:
    """Print the cards; what is wrong with them: values that live in local memory."""
    cards = _of_triton(source) if source.language == "triton" else _of_cuda(source)
    table = Table(
        "kernel", "target", "registers", "spills", "shared", "occupancy", "tensor cores", "128 bits", box=None
    )
    for card in cards:
        table.add_row(
            card.kernel,
            card.target,
            str(card.registers),
            f"{card.spill_bytes} B" if card.spills else "none",
            f"{card.shared_bytes} B",
            f"{card.occupancy:.0%} ({card.limiter})",
            card.tensor_instruction or "none",
            f"{card.wide:.0%}",
        )
    console.print(table)
    return [f"{card.kernel} spills on {card.target}" for card in cards if card.spills]


def _of_triton(source: Source) -> list[Card]:
    """Of each kernel that the file's first case launches."""
    from genfuse.lab import loader
    from genfuse_bench.compiled import compiling_only, standin_driver

    found: list[Card] = []
    for target in TARGETS:
        with standin_driver(target), compiling_only() as launched:
            launch = loader.load(source)
            case = next(
                case for case in check.cases(source, 16) if all(o.tensor.numel() for o in case.outputs)
            )
            launch(**case.arguments)
        dtype = source.dtypes[0]
        for kernel, binary in dict(launched).items():
            found.append(triton_card(binary, kernel.removesuffix("_kernel"), "lab", target, dtype))
    return found


def _of_cuda(source: Source) -> list[Card]:
    from genfuse.lab import cuda
    from genfuse_bench.card import cuda_card

    threads = cuda.threads(source)
    return [
        cuda_card(cuda.compiled(source, target), source.op, "lab", target, source.dtypes[0], threads)
        for target in TARGETS
    ]

"""`genfuse lab check`: a kernel file held against its op's cases, on this machine's own processor."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from genfuse.dispatch import Launcher
from genfuse.errors import UnsupportedError
from genfuse.lab import loader
from genfuse.lab.kernel_file import Language, Source
from genfuse_kernels.common.case import Case, Product

PRODUCTS: dict[Language, dict[torch.dtype, Product]] = {
    "cpp": {torch.bfloat16: torch.bfloat16, torch.float16: torch.float16},
    "python": {torch.bfloat16: torch.bfloat16, torch.float16: torch.float16},
    "triton": {
        torch.float32: "tf32x3",
        torch.bfloat16: torch.bfloat16,
        torch.float16: torch.float16,
    },
    "cuda": {
        torch.float32: "tf32x3",
        torch.bfloat16: torch.bfloat16,
        torch.float16: torch.float16,
    },
}
"""What factors of a matrix product may be rounded to, beside float32."""


_TRIED = 8
"""Cases for each that is to be taken: what a kernel of few layouts or settings declines is not held against it."""


@dataclass(frozen=True)
class Outcome:
    """Of one case.

    error     the largest, as a share of what is allowed; above 1, or infinite, it is wrong
    declined  what the kernel said where it did not take the call
    problem   anything else that went wrong: memory that it should not have written, an exception, by file and line
    """

    case: str
    error: float = 0.0
    declined: str | None = None
    problem: str | None = None

    @property
    def is_right(self) -> bool:
        """Whether it has computed what it should."""
        return self.problem is None and self.declined is None and self.error <= 1


def cases(source: Source, count: int, first: int = 0) -> Iterator[Case]:
    """The op's generated cases of all dtypes that the file takes, in turn."""
    module = importlib.import_module(f"genfuse_kernels.{source.op}.cases")
    generate: Callable[[int, torch.dtype, Product], Case] = module.case
    dtypes = source.dtypes
    for seed in range(first, first + count):
        dtype = dtypes[seed % len(dtypes)]
        yield generate(seed, dtype, PRODUCTS[source.language].get(dtype, torch.float32))


def check(source: Source, count: int, first: int = 0, *, launch: Launcher | None = None) -> Iterator[Outcome]:
    """Outcomes, until `count` cases were taken and not declined, or eight times as many tried.

    KernelError where the file does not load.
    """
    launch, taken = launch or loader.load(source), 0
    for each in cases(source, _TRIED * count, first):
        found = outcome(each, launch, source)
        yield found
        taken += found.declined is None
        if taken == count:
            return


def outcome(case: Case, launch: Launcher, source: Source) -> Outcome:
    """Run one case."""
    try:
        error = case.run(launch)
    except UnsupportedError as declined:
        return Outcome(case.name, declined=str(declined))
    except MemoryError as wrote:
        return Outcome(case.name, math.inf, problem=f"{source.path.name}: {wrote}")
    except Exception as raised:
        line = loader.line_of(raised, source.path) or source.line
        return Outcome(
            case.name, math.inf, problem=f"{source.path}:{line}: {type(raised).__name__}: {raised}"
        )
    return Outcome(case.name, error)


def verdict(outcomes: list[Outcome]) -> str | None:
    """Why a kernel is not to be believed; None where it has passed: right in every case that it takes, and in some."""
    wrong = [each for each in outcomes if each.declined is None and not each.is_right]
    if wrong:
        worst = wrong[0]
        what = worst.problem or f"{worst.error:.3g} times the error allowed"
        return f"wrong in {len(wrong)} of {len(outcomes)} cases; {worst.case}: {what}"
    if not any(each.is_right for each in outcomes):
        said = outcomes[0].declined if outcomes else "there are none"
        return f"it takes none of {len(outcomes)} cases: {said}"
    return None

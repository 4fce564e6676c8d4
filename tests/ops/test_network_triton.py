"""What a network needs beside its units, in Triton: files of triton_proof/interpreted, in one process."""

from __future__ import annotations

from triton_proof.process import run_interpreted
from triton_proof.seeds import rotating

OPS = ("attention", "linear", "spectral_norm", "timestep_embedding", "upfirdn2d")


def test_cases_under_the_interpreter() -> None:
    run_interpreted(*(f"test_{OPS[i]}.py" for i in rotating(2, len(OPS))))

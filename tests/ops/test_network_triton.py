"""What a network needs beside its units, in Triton: files of triton_proof/interpreted, in one process."""

from __future__ import annotations

from triton_proof.process import run_interpreted
from triton_proof.seeds import rotating

FILES = (
    "test_attention.py",
    "test_linear.py",
    "test_spectral_norm.py",
    "test_timestep_embedding.py",
    "test_upfirdn2d.py",
)


def test_cases_under_the_interpreter() -> None:
    run_interpreted(*(FILES[i] for i in rotating(2, len(FILES))))

"""The ops on lists in Triton, under the interpreter: triton_proof/interpreted/test_tensor_lists.py."""

from __future__ import annotations

from triton_proof.process import run_interpreted


def test_cases_under_the_interpreter() -> None:
    run_interpreted("test_tensor_lists.py")
